"Loaders of series with unequal lengths, with missing values, and from files larger than memory."
import mmap
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.basics import ClassificationInterpretation, Learner, accuracy, set_seed
from fasttransform import Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.common import SMALL, load_exported, quiet_fit
from tsai_rnnattn.data.archives import get_UCR_data
from tsai_rnnattn.data.augment import TSJitter
from tsai_rnnattn.data.dataset import TSDataset, _release_pages
from tsai_rnnattn.data.loaders import TSDataLoader, TSDataLoaders, draw_splits
from tsai_rnnattn.data.transforms import TSImpute, TSNormalize, TSRobustScale, TSStandardize, TSTransform
from tsai_rnnattn.series import RaggedSeries, pad_series
from tsai_rnnattn.models import GRUAttentionPlus
from tsai_rnnattn.testing import random_series

matplotlib.use('agg')

class LengthsGRU(nn.Module):
    "A small model that uses lengths: the state of a GRU at the last real step"
    def __init__(self, c_in, c_out):
        super().__init__()
        self.rnn, self.out = nn.GRU(c_in, 16, batch_first=True), nn.Linear(16, c_out)
    def forward(self, x, lengths):
        assert lengths.dtype == torch.int64 and lengths.shape == (len(x),) and 1 <= lengths.min() and lengths.max() <= x.shape[2]
        steps, _ = self.rnn(x.transpose(1, 2))
        return self.out(steps[torch.arange(len(x)), lengths - 1])

@pytest.fixture(scope='module')
def vowels(): return get_UCR_data('JapaneseVowels', split_data=False)

def fitted(dls, n_epoch=1, **kw):
    return quiet_fit(Learner(dls, LengthsGRU(dls.vars, dls.c), **kw), n_epoch, 1e-2)

def test_unequal_lengths_learn_and_give_the_same_predictions_everywhere(vowels, tmp_path):
    X, y, (train, test) = vowels
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X.map(lambda x: x*1000 + 500), y, (train, test), bs=32)    # far from standardized
    learn = fitted(dls, 12, metrics=accuracy)
    assert learn.recorder.final_record[-1] > 0.9
    with learn.no_bar(): want, targets = learn.get_preds()
    assert want.shape == (370, 9) and targets.shape == (370,)
    learn.export(tmp_path/'model.pkl')
    assert (tmp_path/'model.pkl').stat().st_size < 100_000
    loaded = load_exported(tmp_path/'model.pkl')
    raw = X[test].map(lambda x: x*1000 + 500)
    padded, lengths = pad_series(raw)
    with loaded.no_bar():
        for dl in (loaded.dls.test_dl(raw), loaded.dls.test_dl(padded, lengths=lengths), loaded.dls.test_dl(padded, y[test], lengths)):
            torch.testing.assert_close(loaded.get_preds(dl=dl)[0], want, atol=1e-5, rtol=1e-4)
        for i in (0, 100, 369):                                          # each with its own length
            for x in (raw[i], raw[i][None], raw[i].tolist()):
                label, place, probs = loaded.predict(x)
                torch.testing.assert_close(probs, want[i], atol=1e-5, rtol=1e-4)
                assert label == dls.vocab[place] == dls.vocab[want[i].argmax()]
    assert (loaded.dls.vars, loaded.dls.c, loaded.dls.len, loaded.dls.n_inp) == (12, 9, 29, 2)

def test_cut_batches_changes_no_prediction(vowels):
    def preds(**kw):
        dls = TSDataLoaders.from_numpy(*vowels, bs=16, **kw)
        learn = Learner(dls, model)
        with learn.no_bar(): return learn.get_preds()[0]
    torch.manual_seed(0)
    model = LengthsGRU(12, 9)
    torch.testing.assert_close(preds(cut_batches=True), preds(), atol=1e-5, rtol=1e-4)

def test_predict_returns_the_series_without_padding(vowels):
    X, y, _ = vowels
    learn = fitted(TSDataLoaders.from_numpy(*vowels))
    with learn.no_bar(): (x, n), *_ = learn.predict(X[0], with_input=True)
    torch.testing.assert_close(torch.Tensor(x), torch.tensor(X[0]), atol=1e-4, rtol=1e-4)
    assert n == X[0].shape[1]

def test_show_and_interpret_unequal_lengths(vowels):
    X, y, (_, test) = vowels
    dls = TSDataLoaders.from_numpy(*vowels)
    dls.valid.show_batch(max_n=3)
    axes = matplotlib.pyplot.gcf().axes
    assert [len(ax.lines) for ax in axes] == [12, 12, 12]
    assert [len(ax.lines[0].get_xdata()) for ax in axes] == [x.shape[1] for x in X[test[:3]]]
    assert [ax.get_title() for ax in axes] == y[test[:3]].tolist()
    learn = fitted(dls)
    with learn.no_bar(): cm = ClassificationInterpretation.from_learner(learn).confusion_matrix()
    assert cm.sum() == 370
    matplotlib.pyplot.close('all')

@pytest.mark.parametrize('name,n,c_in,sl', (('JapaneseVowels', 640, 12, 29), ('PLAID', 1074, 1, 1344)))
def test_archives_of_unequal_length(name, n, c_in, sl):
    dls = TSDataLoaders.from_ucr(name, bs=50)
    assert (dls.vars, dls.len, sum(len(dl.dataset) for dl in dls.loaders)) == (c_in, sl, n)
    seen = torch.cat([x[i, :, :k] for x,ks,_ in dls.train for i,k in enumerate(ks)], 1)      # [c_in, all real steps]
    torch.testing.assert_close(seen.mean(1), torch.zeros(c_in), atol=1e-3, rtol=0)
    torch.testing.assert_close(seen.std(1), torch.ones(c_in), atol=1e-3, rtol=0)

def resident(): return int(next(o for o in open('/proc/self/status') if o.startswith('VmRSS')).split()[1]) * 1024

@pytest.fixture(scope='module')
def large_memmap(tmp_path_factory):
    "4 GB in a sparse file"
    fname = tmp_path_factory.mktemp('large')/'X.dat'
    try: yield np.memmap(fname, np.float32, 'w+', shape=(2**16, 4, 2**12))
    except OSError as e: pytest.skip(f'needs a file system with sparse files of 4 GB: {e}')
    fname.unlink()

@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='needs /proc to measure resident memory')
@pytest.mark.parametrize('part,tfms', ((1, []), (16, None)), ids=('all series', 'some series, standardized'))
def test_a_large_memmap_is_not_read_into_memory(large_memmap, part, tfms):
    n, y = len(large_memmap), np.arange(len(large_memmap)) % 2
    start = most = resident()
    dls = TSDataLoaders.from_numpy(large_memmap, y, (range(n//part - 128), range(n - 128, n)), bs=128, batch_tfms=tfms)
    for dl in dls.loaders:
        for x,_ in dl: most = max(most, resident())
    assert large_memmap.nbytes == 2**32 and sum(len(dl.dataset) for dl in dls.loaders) == n//part
    assert most - start < 300e6

def test_a_memmap_gives_the_batches_of_an_array(tmp_path):
    X = np.random.default_rng(0).normal(3, 5, (40, 3, 11)).astype(np.float32)
    np.save(tmp_path/'X.npy', X)
    for mode in ('r', 'r+', 'c'):
        mm = np.load(tmp_path/'X.npy', mmap_mode=mode)
        loaders = [TSDataLoaders.from_numpy(o, np.arange(40) % 2, (range(30), range(30, 40))) for o in (X, mm)]
        assert loaders[1].train_ds.X is mm                               # not copied
        for a,b in zip(*(dls.valid.one_batch() for dls in loaders)): torch.testing.assert_close(a, b)

@pytest.mark.parametrize('mode,nbytes,released', [('r', 2**27 + 1, True), ('r+', 2**27 + 1, True), ('w+', 2**27 + 1, True),
                                                  ('c', 2**27 + 1, False), ('r', 2**27, False)])
def test_pages_of_large_memmaps_are_released(mode, nbytes, released):
    calls = []
    _release_pages(SimpleNamespace(mode=mode, nbytes=nbytes, _mmap=SimpleNamespace(madvise=calls.append)))
    _release_pages(SimpleNamespace(mode=mode, nbytes=nbytes, _mmap=None))
    assert calls == [mmap.MADV_DONTNEED] * released

class Rows:
    "A minimal array, like one of zarr: shape, dtype and X[rows]"
    def __init__(self, X): self._X, self.shape, self.dtype, self.read = X, X.shape, X.dtype, 0
    def __len__(self): return self.shape[0]
    def __array__(self, *args, **kw): raise AssertionError('read as a whole')
    def __getitem__(self, rows):
        self.read = max(self.read, len(rows))
        return self._X[rows]

def test_an_array_that_reads_rows_on_demand():
    X = np.random.default_rng(0).normal(size=(40, 3, 11))
    lazy = Rows(X)
    dls = TSDataLoaders.from_numpy(lazy, np.arange(40) % 2, (range(30), range(30, 40)), bs=8, batch_tfms=[])
    torch.testing.assert_close(dls.valid.one_batch()[0], torch.tensor(X[30:38], dtype=torch.float32))
    assert sum(len(x) for x,_ in dls.train) == 30 and lazy.read == 8

def test_torch_tensors_are_accepted():
    X = torch.randn(20, 2, 7, requires_grad=True)
    x, y = TSDataLoaders.from_numpy(X, torch.arange(20) % 2, (range(15), range(15, 20)), batch_tfms=[]).valid.one_batch()
    torch.testing.assert_close(x, X[15:].detach())
    assert y.tolist() == [1, 0, 1, 0, 1]

def with_gaps(n=40, c=2, sl=13, share=0.2):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, c, sl)).astype(np.float32)
    X[rng.random(X.shape) < share] = np.nan
    return X, np.arange(n) % 2

@pytest.mark.parametrize('how', ('forward', 'mean'))
@pytest.mark.parametrize('indicator', (False, True))
def test_missing_values_train_export_and_predict(how, indicator, tmp_path):
    X, y = with_gaps()
    dls = TSDataLoaders.from_numpy(X, y, (range(30), range(30, 40)), bs=10, batch_tfms=[TSImpute(how, indicator), TSStandardize()])
    assert dls.vars == 2 * (1 + indicator)
    learn = Learner(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, **SMALL))
    quiet_fit(learn)
    with learn.no_bar(): want, _ = learn.get_preds()
    assert all(p.isfinite().all() for p in learn.model.parameters())
    learn.export(tmp_path/'m.pkl')
    loaded = load_exported(tmp_path/'m.pkl')
    assert loaded.dls.vars == dls.vars
    with loaded.no_bar(): torch.testing.assert_close(loaded.predict(X[33])[2], want[3], atol=1e-5, rtol=1e-4)
    x, _, shown = dls.valid.show_batch(show=False)
    assert np.isnan(shown[0][0].numpy()).sum() == (np.isnan(X[30]).sum() if indicator else 0)    # with an indicator, gaps are decoded

def test_missing_values_are_refused_with_their_position():
    X, y = with_gaps(share=0)
    X[17, 1, 4] = np.nan
    dls = TSDataLoaders.from_numpy(X, y, (range(10, 40), range(10)), bs=4)
    assert sum(len(x) for x,_ in dls.valid) == 10
    for _ in range(3):                                                   # in any batch of a shuffled epoch
        with pytest.raises(ValueError, match='nan in sample 17, variable 1, step 4.*TSImpute'): list(dls.train)
    with pytest.raises(ValueError, match='sample 2, variable 1, step 4'): dls.test_dl(X[15:20]).one_batch()   # row 2 of X[15:20]
    learn = Learner(dls, GRUAttentionPlus(2, 2, 13, **SMALL))
    with learn.no_bar(), pytest.raises(ValueError, match='sample 0, variable 1, step 4'): learn.predict(X[17])

X20, Y20, FIRST15 = np.random.default_rng(0).normal(size=(20, 2, 7)), np.array(['a', 'b'] * 10), (range(15), range(15, 20))
X_NAN, X_INF = X20.copy(), X20.copy()
X_NAN[3, 1, 2], X_INF[17, 0, 6] = np.nan, np.inf
def as_objects(series): o = np.empty(len(series), object); o[:] = series; return o
REFUSALS = {
    'X and y of different length': (lambda: dict(y=Y20[:19]), 'X has 20 series but y has shape \\[19\\]'),
    'y missing': (lambda: dict(y=None), 'expected one label or target per series'),
    'overlapping splits': (lambda: dict(splits=(range(15), range(14, 20))), 'row 14 appears twice in splits'),
    'a row twice in a split': (lambda: dict(splits=([*range(15), 3], range(15, 20))), 'row 3'),
    'empty split': (lambda: dict(splits=(range(20), [])), 'at least one row'),
    'rows that do not exist': (lambda: dict(splits=(range(15), range(15, 21))), 'from 0 to 19'),
    'a mask for a split': (lambda: dict(splits=(np.arange(20) < 15, np.arange(20) >= 15)), 'must be integers'),
    'a label that training lacks': (lambda: dict(y=[*Y20[:19], 'c']), "label 'c' of sample 19"),
    'an int label that training lacks': (lambda: dict(y=np.r_[np.zeros(19, int), 7]), 'label 7 of sample 19'),
    'NaN label': (lambda: dict(y=np.r_[np.nan, np.ones(19)]), 'target of sample 0 is nan'),
    'NaN among labels': (lambda: dict(y=np.array([*Y20[:19], np.nan], object)), 'label of sample 19 is nan'),
    'None among labels': (lambda: dict(y=[*Y20[:19], None]), 'label of sample 19 is None'),
    'NaN in X': (lambda: dict(X=X_NAN), 'nan in sample 3, variable 1, step 2.*TSImpute'),
    'inf in X': (lambda: dict(X=X_INF), 'inf in sample 17, variable 0, step 6'),
    'inf in X that is imputed': (lambda: dict(X=X_INF, batch_tfms=[TSImpute(), TSStandardize()]), 'inf in sample 17, variable 0, step 6'),
    'object array': (lambda: dict(X=X20.astype(object)), 'dtype object'),
    'ragged series in an object array': (lambda: dict(X=as_objects([x[:, :2 + i % 3] for i,x in enumerate(X20)])),
                                         'must be numeric; pass series of unequal length as a list'),
    'a ragged series': (lambda: dict(X=[[[1., 2], [3.]]] * 20), 'series 0 is ragged'),
    'series of different variables': (lambda: dict(X=[*X20[:19], X20[0, :1, :3]]), '1 to 2 variables'),
    'strings': (lambda: dict(X=X20.astype(str)), 'must be numeric'),
    'two axes': (lambda: dict(X=X20[:, 0]), r'X\[:, None\]'),
    'no series': (lambda: dict(X=X20[:0], y=Y20[:0]), 'is empty'),
    'a class with one sample': (lambda: dict(y=['c', *Y20[1:]], splits=None), "class 'c' has only one sample"),
    'a class with one sample, as objects': (lambda: dict(y=np.array(['c', *Y20[1:]], object), splits=None), "class 'c' has only one"),
    'fractions with sum 1': (lambda: dict(valid_pct=(.5, .5), splits=None), 'and so must the sum'),
    'too few to draw from': (lambda: dict(y=np.arange(20) // 2, splits=None), 'too few for 10 classes'),
    'too few left for training': (lambda: dict(y=np.arange(20) // 2, valid_pct=0.6, splits=None), 'too few for 10 classes'),
    'valid_pct above 1': (lambda: dict(valid_pct=1.5, splits=None), 'valid_pct=1.5: must be between 0 and 1'),
    'valid_pct 1': (lambda: dict(valid_pct=1, splits=None), 'valid_pct=1: must be between 0 and 1'),
    'valid_pct 0': (lambda: dict(valid_pct=0, splits=None), 'valid_pct=0: must be between 0 and 1'),
    'bs larger than the training split, with drop_last': (lambda: dict(bs=16, drop_last=True), 'training has 15 samples'),
    'bs': (lambda: dict(bs=0), 'bs=0'),
    'val_bs': (lambda: dict(val_bs=0), 'val_bs=0'),
    'lengths for other series': (lambda: dict(lengths=[3] * 19), r'expected one length per series, \[20\]'),
    'a length of 0': (lambda: dict(lengths=[3] * 19 + [0]), 'sample 19 is 0'),
    'weights for other series': (lambda: dict(weights=[1] * 15), 'one per sample, 20 in total'),
    'no weight in training': (lambda: dict(weights=[0] * 15 + [1] * 5), 'not all 0 in training'),
    'a masked target': (lambda: dict(y=np.ma.masked_array(X20[:, 0, 0], np.arange(20) == 6)), 'target of sample 6 is masked'),
    'a masked label': (lambda: dict(y=np.ma.masked_array(Y20, np.arange(20) == 6)), 'target of sample 6 is masked'),
    'one class': (lambda: dict(y=['a']*20), "label 'a': expected two or more"),
    'masked values': (lambda: dict(X=np.ma.masked_equal(X20, X20[3, 1, 2])), 'nan in sample 3, variable 1, step 2'),
    'masked integers': (lambda: dict(X=np.ma.masked_equal(np.arange(280).reshape(20, 2, 7), 50)), 'nan in sample 3, variable 1, step 1'),
    'lengths of a ragged list': (lambda: dict(X=[x[:, :2 + i % 3] for i,x in enumerate(X20)], lengths=[2] * 20), 'leave out lengths'),
    'batches of like length that are not cut': (lambda: dict(lengths=[7] * 20, by_length=True), 'only with cut_batches=True'),
    'numbers that float32 cannot hold': (lambda: dict(X=X20 + 1e39, batch_tfms=[]), 'transforms give inf in sample.*scale numbers above'),
    'class weights for numbers': (lambda: dict(y=X20[:, 0, 0], class_weight='balanced'), 'class_weight'),
    'standardized labels': (lambda: dict(standardize_y=True), 'numbers'),
    'a misspelled argument': (lambda: dict(batch_sz=4), 'batch_sz')}

@pytest.mark.parametrize('case', REFUSALS)
def test_what_is_refused(case):
    make, says = REFUSALS[case]
    with pytest.raises((ValueError, TypeError), match=says):
        for dl in TSDataLoaders.from_numpy(**{**dict(X=X20, y=Y20, splits=FIRST15), **make()}).loaders: list(dl)

def test_what_is_accepted():
    def made(**kw): return TSDataLoaders.from_numpy(**{**dict(X=X20, y=Y20, splits=FIRST15), **kw})
    assert made().path == Path('.') and len(made(bs=15, drop_last=True).train) == 1
    assert len(made(y=np.arange(20) // 5, splits=None, valid_pct=0.2).valid_ds) == 4         # one per class
    np.testing.assert_allclose(made(weights=np.full(20, 1e-3)).train.weights, np.full(15, 1/15))

def test_repr_of_a_dataset():
    ds = TSDataLoaders.from_numpy(X20, Y20, FIRST15).train_ds
    assert repr(ds) == 'TSDataset: 15 series [c_in=2, sl=7], TSLabels(c=2, d=None)'
    assert repr(TSDataset(X20)) == 'TSDataset: 20 series [c_in=2, sl=7]'
    ds = TSDataset(X20, lengths=np.arange(20) % 7 + 1)
    assert repr(ds) == 'TSDataset: 20 series [c_in=2, sl=7], lengths 1 to 7'
    assert repr(ds.new_empty()) == 'TSDataset: 0 series [c_in=2, sl=7]' and len(ds.new_empty().lengths) == 0

def test_a_loader_by_itself():
    dl = TSDataLoader(TSDataset(X20), after_batch=[TSImpute(indicator=True)])
    with pytest.raises(ValueError, match='bs=0'): TSDataLoader(TSDataset(X20), 0)
    assert (dl.bs, dl.device, dl.fake_l.num_workers, dl.vars, dl.len) == (64, None, 0, 4, 7)

@pytest.mark.parametrize('kw,steps', [(dict(), 'sl=7'), (dict(lengths=[7] * 20), 'sl=7 or less'),
                                      (dict(lengths=[7] * 20, cut_batches=True), 'any sl')])
def test_new_series_that_do_not_fit_are_refused(kw, steps):
    dls = TSDataLoaders.from_numpy(X20, Y20, FIRST15, **kw)
    with pytest.raises(ValueError, match=fr'\[n, c_in=2, {steps}\] as in training, got \[5, 3, 9\]'): dls.test_dl(np.zeros((5, 3, 9)))

class Pad(Transform):
    "Appends variables and steps, and counts the parts of a batch"
    def __init__(self, c_in, sl, value=0.): self.pad, self.value = (0, sl, 0, c_in), value
    def __call__(self, b, split_idx=None):
        self.n, self.device, self.called_with = len(b), b[0].device.type, split_idx
        assert {len(o) for o in b} == {len(b[0])}
        return (nn.functional.pad(b[0], self.pad, value=self.value), *b[1:])

@pytest.mark.parametrize('kw', (dict(), dict(lengths=np.full(20, 7))), ids=('equal', 'unequal lengths'))
def test_transforms_get_lengths_when_the_shape_is_computed(kw):
    dl = TSDataLoader(TSDataset(X20, **kw), after_batch=[Pad(1, 2)])
    tfm = dl.after_batch[0]                                              # the loader works on a copy
    assert (dl.vars, dl.len) == (3, 9)
    assert (dl.vars, dl.len, tfm.n, tfm.device, tfm.called_with) == (3, 9, 1 + len(kw), 'cpu', 1)
    dl.to('meta')
    assert (dl.vars, tfm.device) == (3, 'meta')

@pytest.mark.parametrize('c_in,sl,place', [(1, 0, 'variable 2, step 0'), (0, 1, 'variable 0, step 7')])
def test_bad_values_of_transforms_are_refused(c_in, sl, place):
    dl = TSDataLoader(TSDataset(X20), after_batch=[Pad(c_in, sl, torch.nan)])
    with pytest.raises(ValueError, match=f'transforms give nan in sample 0, {place}'): list(dl)

def test_only_the_first_split_is_for_training():
    dls = TSDataLoaders.from_numpy(X20, Y20, (range(10), range(10, 15), range(15, 20)))
    assert [dl.split_idx for dl in (*dls.loaders, dls.test_dl(X20), TSDataLoader(TSDataset(X20)))] == [0, 1, 1, 1, 1]

@pytest.mark.parametrize('kw', (dict(), dict(num_workers=2)), ids=('no workers', 'workers'))
def test_workers_give_the_same_batches(vowels, kw):
    X, y, (train, test) = vowels
    dls = TSDataLoaders.from_numpy(X, y, (train, test), bs=50)
    dl = dls.test_dl(X[test], y[test], **kw)
    for a,b in zip(dl, dls.valid): torch.testing.assert_close(a, b)
    assert len(dl) == len(list(dl)) == 8
    bad = [x.copy() for x in X[test]]
    bad[123][4, 5] = np.nan
    with pytest.raises(ValueError, match='sample 123, variable 4, step 5'): list(dls.test_dl(bad, **kw))

def test_a_seed_determines_order_and_augmentation(vowels):
    def batches():
        set_seed(5)
        dls = TSDataLoaders.from_numpy(*vowels, bs=32, batch_tfms=[TSStandardize(), TSJitter()])
        return [b for _ in range(2) for b in dls.train]
    first, second = batches(), batches()
    for a,b in zip(first, second): torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(first[0][2], first[9][2])                     # the next epoch has another order

def test_every_fold_has_its_own_statistics():
    tfms = [TSImpute('mean'), TSStandardize()]
    X = X20 * np.arange(1, 21)[:, None, None]
    folds = [TSDataLoaders.from_numpy(X, Y20, (np.setdiff1d(np.arange(20), rows), rows), batch_tfms=tfms)
             for rows in (range(5), range(15, 20))]
    for dls in folds:
        train = torch.cat([x for x,_ in dls.train]).double()
        torch.testing.assert_close(train.std((0, 2), correction=0), torch.ones(2).double(), atol=1e-5, rtol=0)
        want = X[dls.train_ds.rows].std((0, 2))
        np.testing.assert_allclose(dls.after_batch[1].std.flatten(), want, rtol=1e-5)
        assert dls.valid.after_batch[1] is dls.train.after_batch[1] is dls.test_dl(X).after_batch[1]     # those of training
    assert tfms[0].mean is None and tfms[1].mean is None

@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 60), min_size=2, max_size=8), st.floats(.05, .95), st.integers(0, 99))
def test_splits_have_every_class_in_its_share(counts, valid_pct, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n_valid = int(np.ceil(valid_pct * len(y)))
    if min(n_valid, len(y) - n_valid) < len(counts):
        with pytest.raises(ValueError, match='too few'): draw_splits(y, valid_pct, seed)
        return
    train, valid = draw_splits(y, valid_pct, seed)
    assert sorted([*train, *valid]) == list(range(len(y))) and len(valid) == n_valid
    got, share = np.bincount(y[valid], minlength=len(counts)), n_valid * np.array(counts) / len(y)
    assert (got >= 1).all() and (got < counts).all()
    if (share >= 1).all() and (np.array(counts) - share >= 1).all(): assert (abs(got - share) < 1).all()     # as close as integers can be
    for a in range(len(counts)):                                         # no exchange between two classes brings the sizes closer
        for b in range(len(counts)):
            if a != b and got[a] > 1 and got[b] < counts[b] - 1:
                assert abs(got[a] - share[a]) + abs(got[b] - share[b]) <= abs(got[a]-1 - share[a]) + abs(got[b]+1 - share[b]) + 1e-9
    assert (train, valid) == draw_splits(y, valid_pct, seed)

def test_a_class_of_two_is_in_both_splits():
    y = np.array(['a']*58 + ['b']*2)
    drawn = {tuple(draw_splits(y, .2, seed)[1]) for seed in range(50)}
    assert {sum(y[list(v)] == 'b') for v in drawn} == {1} and len(drawn) == 50
    set_seed(3); first = draw_splits(y)
    set_seed(3); assert first == draw_splits(y) != draw_splits(y)        # without a seed, that of `set_seed`

class Since(TSTransform):
    "Counts from `start`, before the cast to float32"
    def __init__(self, start): self.start = start
    def encode(self, x, lengths): self.seen = x.dtype; return x - self.start

@pytest.mark.parametrize('start,dtype', [(1e8, np.float64), (1_700_000_000, np.int64), (2**31, np.uint32)])
@pytest.mark.parametrize('ragged', (False, True), ids=('array', 'list'))
def test_wide_dtypes_reach_the_transforms(start, dtype, ragged):
    X = (np.arange(140).reshape(20, 1, 7) + start).astype(dtype)
    series = [x[:, :5 + i % 3] for i,x in enumerate(X)] if ragged else X
    dls = TSDataLoaders.from_numpy(series, Y20, FIRST15, batch_tfms=[Since(start)])
    for dl,rows in ((dls.valid, range(15, 20)), (dls.test_dl(series), range(20))):
        x, *_ = dl.one_batch()
        assert x.dtype == torch.float32 and dl.after_batch[0].seen == torch.float64
        for got,i in zip(x, rows): np.testing.assert_array_equal(got[:, :series[i].shape[1]], series[i].astype(float) - start)

@pytest.mark.parametrize('far', (1e7, 1e8))
def test_standardizing_numbers_far_from_zero(far):
    want = TSDataLoaders.from_numpy(X20, Y20, FIRST15).valid.one_batch()[0]
    torch.testing.assert_close(TSDataLoaders.from_numpy(X20 + far, Y20, FIRST15).valid.one_batch()[0], want, atol=1e-5, rtol=0)

@pytest.mark.parametrize('dtype', (np.float16, np.float32, np.int16, np.uint8, bool))
def test_narrow_dtypes_are_read_as_float32(dtype):
    X = (X20 * 3).astype(dtype)
    for o in (X, RaggedSeries([*X, X[0, :, :2]])): assert TSDataset(o)[[3]][0].dtype == torch.float32
    assert pad_series(list(X))[0].dtype == np.float32

@pytest.mark.parametrize('dtype', (np.float64, np.int64, np.uint32))
def test_padding_keeps_wide_numbers(dtype):
    wide = np.array([[2**31 + 1, 2**31 + 2]], dtype)
    X, lengths = pad_series([wide, np.ones((1, 3), np.float32)], 4)
    assert X.dtype == np.float64 and lengths.tolist() == [2, 3]
    np.testing.assert_array_equal(X[0], [[2**31 + 1, 2**31 + 2, 0, 0]])

def test_a_device_without_float64_gets_float32():
    dl = TSDataLoader(TSDataset(X20, Y20))
    assert next(iter(dl.create_batches([[0]])))[0].dtype == torch.float64
    dl._device = torch.device('mps')
    assert [o.dtype for o in next(iter(dl.create_batches([[0, 2]])))] == [torch.float32, torch.int64]

def test_a_new_loader_of_the_same_series_keeps_their_weights():
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X20, Y20, (range(5, 20), range(5)), weights=np.where(Y20 == 'b', 1, 0), batch_tfms=[])
    for dl in (dls.train.new(num_workers=2), dls.train.new(bs=4), dls.train.new(dls.train_ds)):
        assert torch.cat([t for _,t in dl]).tolist() == [1] * 15
    assert dls.train.new(TSDataset(X20)).weights is None and dls.valid.weights is None
    assert sorted(torch.cat([t for _,t in dls.train.new(weights=None)]).tolist()) == [0] * 7 + [1] * 8

def test_all_constructors_take_num_workers(vowels):
    frame = dict(df=pd.DataFrame(X20[:, 0]).assign(y=Y20), y='y', values=list(range(7)))
    for make,kw in ((TSDataLoaders.from_numpy, dict(X=X20, y=Y20)), (TSDataLoaders.from_sktime, dict(X=X20, y=Y20)),
                    (TSDataLoaders.from_df, frame), (TSDataLoaders.from_ucr, dict(name='ItalyPowerDemand'))):
        dls = make(**kw, num_workers=2)
        assert [dl.fake_l.num_workers for dl in dls.loaders] == [2, 2]
    dls = TSDataLoaders.from_numpy(*vowels, num_workers=2, cut_batches=True, by_length=True)
    assert sum(len(x) for x,*_ in dls.train) == 270

@pytest.mark.parametrize('as_list', (False, True))
def test_masked_values_are_missing(as_list):
    mask = np.random.default_rng(0).random(X20.shape) < .2
    hidden = np.ma.masked_array(np.where(mask, 999, X20), mask)
    dls, want = (TSDataLoaders.from_numpy(o, Y20, FIRST15, batch_tfms=[TSImpute('mean'), TSStandardize()])
                 for o in ([*hidden] if as_list else hidden, np.where(mask, np.nan, X20)))
    torch.testing.assert_close(dls.valid.one_batch(), want.valid.one_batch())
    torch.testing.assert_close(dls.test_dl(hidden[:3]).one_batch(), want.test_dl(np.where(mask, np.nan, X20)[:3]).one_batch())

def test_masks_of_integers_nested_lists_and_files():
    ints = np.ma.masked_equal(np.arange(8).reshape(2, 1, 4), 5)
    nested = [[[0, 1, 2, 3]], [np.ma.masked_equal([4, 5, 6, 7], 5)]]
    for X in (ints, ints.astype(np.int8), RaggedSeries(nested), SortedRows(ints)):
        np.testing.assert_array_equal(TSDataset(X)[[1, 0]][0], [[[4, np.nan, 6, 7]], [[0, 1, 2, 3]]])
    no_mask = np.ma.masked_array(X20)
    assert TSDataLoaders.from_numpy(no_mask, np.ma.masked_array(np.arange(20.)), FIRST15).train_ds.X.base is not None

def test_loaders_from_datasets():
    train = TSDataset(X20, Y20, rows=range(15))
    dls = TSDataLoaders.from_dsets(train, train.new(X20[15:], Y20[15:]), bs=4, val_bs=3, weights=np.ones(20), drop_last=True, num_workers=0)
    want = TSDataLoaders.from_numpy(X20, Y20, FIRST15, bs=3)
    for a,b in zip(dls.valid, want.valid): torch.testing.assert_close(a, b)
    assert [len(x) for x,_ in dls.train] == [4, 4, 4] and [dl.split_idx for dl in dls.loaders] == [0, 1] and train.split_idx == 1
    assert (dls.vars, dls.len, dls.c, list(dls.vocab), type(dls.train)) == (2, 7, 2, ['a', 'b'], TSDataLoader)
    with pytest.raises(TypeError, match='batch_sz'): TSDataLoaders.from_dsets(train, train, batch_sz=4)
    with pytest.raises(TypeError, match='got TensorDataset: for arrays, use TSDataLoaders.from_numpy'):
        TSDataLoaders.from_dsets(torch.utils.data.TensorDataset(torch.tensor(X20)), train)
    with pytest.raises(ValueError, match='got 1 datasets'): TSDataLoaders.from_dsets(train)
    with pytest.raises(ValueError, match='targets=train.targets'): TSDataLoaders.from_dsets(train, TSDataset(X20[15:], Y20[15:]))
    with pytest.raises(ValueError, match='different'): TSDataLoaders.from_dsets(train, train.new(X20[:, :1]))
    with pytest.raises(ValueError, match='training has 15 samples'): TSDataLoaders.from_dsets(train, train, bs=16, drop_last=True)
    with pytest.raises(TypeError, match='from_numpy'): TSDataLoaders.from_dblock(object(), [])

@pytest.mark.parametrize('cut', (False, True))
def test_loaders_from_ragged_datasets(cut):
    series, y = ragged_data()
    longest = np.argmax([x.shape[1] for x in series])
    train = TSDataset(RaggedSeries(series), y, rows=np.delete(np.arange(60), longest), cut=cut)
    valid = train.new(RaggedSeries(series[:9]), y[:9])
    dls = TSDataLoaders.from_dsets(train, valid, bs=7)
    want = TSDataLoaders.from_numpy(series, y, (train.rows, [longest]), bs=7, cut_batches=cut)
    for a,b in zip(dls.valid, want.test_dl(series[:9], y[:9])): torch.testing.assert_close(a, b)
    longer = RaggedSeries([np.ones((3, 99)), series[0]])
    if cut: assert TSDataLoaders.from_dsets(train, train.new(longer, y[:2])).valid.one_batch()[0].shape == (2, 3, 99)
    else:
        with pytest.raises(ValueError, match='different'): TSDataLoaders.from_dsets(train, train.new(longer, y[:2]))

def test_a_dataset_makes_its_own_targets():
    for y in (Y20, list(Y20), torch.arange(20) % 2, X20[:, 0, 0], torch.tensor(X20[:, 0])):
        ds = TSDataset(X20, y, rows=[3, 4, 9])
        assert ds.c == ds.targets.c and len(ds[[0, 2]]) == 2 and len(ds[[0, 2]][1]) == 2
    assert TSDataset(X20, Y20).decode(TSDataset(X20, Y20)[1])[1] == 'b'
    with pytest.raises(ValueError, match='X has 20 series but y'): TSDataset(X20, Y20[:3])
    with pytest.raises(ValueError, match="'b' of sample 1 does not occur"): TSDataset(X20, Y20, rows=[0, 2])

@pytest.mark.parametrize('show', (False, True))
def test_showing_one_series_leaves_the_loader_as_it_was(show):
    dls = TSDataLoaders.from_numpy(X20, Y20, FIRST15, bs=4, batch_tfms=[TSStandardize(), TSJitter()])
    _, _, samples = dls.show_batch(unique=True, max_n=3, show=False)
    assert {label for _,label in samples} == {Y20[0]} and not torch.equal(samples[0][0], samples[1][0])
    dls.show_batch(unique=True, max_n=3, show=show)
    assert sorted(torch.cat([t for _,t in dls.train]).tolist()) == [0] * 8 + [1] * 7
    assert 'get_idxs' not in vars(dls.train)
    matplotlib.pyplot.close('all')

class SortedRows:
    "Like an array of h5py: it takes rows that are sorted and unique"
    def __init__(self, X): self._X, self.shape, self.dtype = X, X.shape, X.dtype
    def __len__(self): return self.shape[0]
    def __array__(self, *args, **kw): raise AssertionError('read as a whole')
    def __getitem__(self, rows):
        if not (np.ndim(rows) == 1 and (np.diff(rows) > 0).all()): raise TypeError('Indexing elements must be in increasing order')
        return self._X[np.asarray(rows)]

class Zarr:
    "Like an array of zarr: rows go through `oindex`"
    def __init__(self, X): self.oindex, self.shape, self.dtype = SortedRows(X), X.shape, X.dtype
    def __len__(self): return self.shape[0]
    def __getitem__(self, rows): raise IndexError('unsupported selection')

@pytest.mark.parametrize('File', (SortedRows, Zarr))
@pytest.mark.parametrize('kw', (dict(), dict(lengths=np.arange(20) % 7 + 1), dict(weights=np.ones(20))), ids=('', 'lengths', 'weights'))
def test_arrays_of_h5py_and_zarr(File, kw):
    def loaders(X): set_seed(0); return TSDataLoaders.from_numpy(X, Y20, FIRST15, bs=4, **kw)
    file, array = loaders(File(X20)), loaders(X20)
    for a,b in zip([*file.train, *file.valid, *file.test_dl(File(X20))], [*array.train, *array.valid, *array.test_dl(X20)]):
        torch.testing.assert_close(a, b)

def test_new_series_from_a_memmap_are_not_copied(large_memmap):
    n = len(large_memmap)
    dls = TSDataLoaders.from_numpy(np.ones((20, 4, 5000)), Y20, FIRST15, lengths=[5000] * 20)
    before = resident()
    dl = dls.test_dl(large_memmap, lengths=np.full(n, 300), bs=4)
    assert dl.dataset.X is large_memmap and resident() - before < 100e6
    x, lengths = next(iter(dl))
    assert x.shape == (4, 4, 5000) and lengths.tolist() == [300] * 4     # padded as in training

def test_new_series_may_have_more_or_less_padding_than_those_of_training():
    lengths = np.arange(20) % 7 + 1
    dls = TSDataLoaders.from_numpy(X20, Y20, FIRST15, lengths=lengths)
    want = dls.test_dl(X20, lengths=lengths).one_batch()
    wide = np.pad(X20, ((0, 0), (0, 0), (0, 4)), constant_values=9)
    torch.testing.assert_close(dls.test_dl(wide, lengths=lengths).one_batch(), want)
    short = dls.test_dl(X20[:, :, :3], lengths=np.minimum(lengths, 3)).one_batch()[0]
    assert short.shape == (20, 2, 7) and not short[..., 3:].any()
    with pytest.raises(ValueError, match='sl=7 or less'): dls.test_dl(wide, lengths=lengths + 4)

def test_messages_for_new_series_name_what_is_wrong():
    dls = TSDataLoaders.from_numpy(X20, Y20, FIRST15)
    for bad,kw,says in ((X20, dict(lengths=np.arange(20) % 7 + 1), '1 to 7 steps, but those of training all have 7'),
                        ([x[:, :2 + i % 6] for i,x in enumerate(X20)], {}, '2 to 7 steps, but those of training all have 7'),
                        (X20[0], {}, r'for a single series, X\[None\]'), ([], {}, 'at least one series, got an empty list'),
                        (X20[:0], {}, 'is empty'), ([X20], {}, r'series 0 of shape \[20, 2, 7\]')):
        with pytest.raises(ValueError, match=says): dls.test_dl(bad, **kw)
    with pytest.raises(ValueError, match='not contain any batches'): dls.new_empty().valid.one_batch()
    torch.testing.assert_close(dls.test_dl(X20, lengths=[7] * 20).one_batch(), dls.test_dl(X20).one_batch())

def ragged_data(n=60, c=3, most=40, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(5, 3, (c, k)).astype(np.float32) for k in rng.integers(1, most, n)], np.arange(n) % 2

@pytest.mark.parametrize('tfms', (None, [TSNormalize()], [TSRobustScale()], [TSRobustScale(by_var=False)], [TSRobustScale(by_sample=True)],
                                  [TSImpute(indicator=True), TSStandardize(by_var=False)]), ids=str)
@pytest.mark.parametrize('cut', (False, True), ids=('padded', 'cut'))
def test_a_list_gives_the_batches_of_a_padded_array(tfms, cut, monkeypatch):
    series, y = ragged_data()
    if tfms and isinstance(tfms[0], TSImpute): series[3][1, :2] = np.nan
    chunks = TSDataset.chunks
    monkeypatch.setattr(TSDataset, 'chunks', lambda self: chunks(self, 1000))        # several pieces, of different lengths
    X, lengths = pad_series(series)
    def loaders(X, **kw):
        set_seed(0)
        return TSDataLoaders.from_numpy(X, y, (range(50), range(50, 60)), bs=7, cut_batches=cut, batch_tfms=tfms, **kw)
    a, b = loaders(series), loaders(X, lengths=lengths)
    assert isinstance(a.train_ds.X, RaggedSeries) and a.len == b.len == X.shape[2]
    for x,want in zip([*a.train, *a.valid, *a.test_dl(series)], [*b.train, *b.valid, *b.test_dl(X, lengths=lengths)]):
        torch.testing.assert_close(x, want)

def test_ragged_series_are_not_copied_and_can_be_pickled():
    series, y = ragged_data()
    X = RaggedSeries(series)
    assert all(a is b for a,b in zip(X.series, series)) and X[[3]].dtype == np.float32
    again = pickle.loads(pickle.dumps(X))
    np.testing.assert_array_equal(again[[5, 1, 5]], X[np.array([5, 1, 5])])
    assert X[[]].shape == (0, 3, 0) and repr(X).startswith('RaggedSeries: 60 series [c_in=3, sl=1 to')
    assert TSDataLoaders.from_numpy(X, y).train_ds.X is X                # a loader takes it too
    assert TSDataset(RaggedSeries([X20[0], *X20[:, :, :2]])).subset([2, 0]).items.iloc[[1]][0][0].shape == (2, 7)

@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 3000))
def test_chunks_hold_all_series_within_their_bytes(lengths, n_bytes):
    ds = TSDataset(RaggedSeries([np.full((2, k), i + 1, np.float32) for i,k in enumerate(lengths)]), rows=np.arange(len(lengths))[::-1])
    chunks = list(ds.chunks(n_bytes))
    assert [k for _,n in chunks for k in n.tolist()] == lengths[::-1]
    for x,n in chunks: assert x.shape[2] == n.max() and (len(x) == 1 or x.numel() * 4 <= n_bytes)
    assert [int(x[0, 0]) for xs,_ in chunks for x in xs] == list(range(len(lengths), 0, -1))

@pytest.mark.skipif(not os.path.exists('/proc/self/clear_refs'), reason='needs /proc to measure the peak of resident memory')
@pytest.mark.parametrize('tfms', ([TSStandardize()], [TSRobustScale()], [TSImpute(), TSNormalize()]), ids=str)
def test_one_long_series_costs_no_memory(tfms):
    "1.8 MB would be padded to 1.6 GB"
    series = [np.full((4, 10), i % 7, np.float32) for i in range(1000)]
    series.append(np.random.default_rng(0).normal(size=(4, 100_000)).astype(np.float32))
    def most():                                                          # the peak since the last call
        peak = int(next(o for o in open('/proc/self/status') if o.startswith('VmHWM')).split()[1]) * 1024
        with open('/proc/self/clear_refs', 'w') as f: f.write('5')
        return peak
    most()
    start = resident()
    kw = dict(cut_batches=True, by_length=True, batch_tfms=tfms)
    dls = TSDataLoaders.from_numpy(series, np.arange(1001) % 2, (range(1, 1001), [0]), bs=4, **kw)
    assert sum(len(x) for x,*_ in dls.train) == 1000
    dl = dls.test_dl(series[:3] + series[-1:])
    assert dl.one_batch()[0].shape == (4, 4, 100_000)
    assert most() - start < 150e6                                        # padded: 1.6 GB

@settings(max_examples=40, deadline=None)
@given(st.integers(4, 80), st.integers(1, 9), st.integers(0, 99), st.booleans())
def test_batches_of_like_length_hold_every_series_once(n, bs, seed, drop_last):
    rng = np.random.default_rng(seed)
    series = [np.full((1, k), i, np.float32) for i,k in enumerate(rng.integers(1, 20, n))] + [np.zeros((1, 25), np.float32)]
    bs = min(bs, n)
    kw = dict(cut_batches=True, by_length=True, batch_tfms=[], drop_last=drop_last)
    dls = TSDataLoaders.from_numpy(series, np.zeros(n + 1), (range(n), [n]), bs=bs, **kw)
    epochs = [[x for x,*_ in dls.train] for _ in range(2)]
    for epoch in epochs:
        seen = [int(v) for x in epoch for v in x[:, 0, 0]]
        assert len(set(seen)) == len(seen) == (n // bs * bs if drop_last else n)
        assert [len(x) for x in epoch] == [bs] * (n // bs) + [n % bs] * (n % bs > 0 and not drop_last)

def test_batches_of_like_length_have_less_padding_and_another_order_each_epoch(vowels):
    def made(**kw): set_seed(0); return TSDataLoaders.from_numpy(*vowels, bs=8, cut_batches=True, **kw)
    def steps(dl): return sum(x.shape[0] * x.shape[2] for x,*_ in dl)
    a, b = made(by_length=True), made()
    assert steps(a.train) < .8 * steps(b.train)
    first, second = ([n.tolist() for _,n,_ in a.train] for _ in range(2))
    assert first != second and sorted(map(max, first)) != list(map(max, first))      # batches are shuffled
    x, y = ([n.tolist() for _,n,_ in made(by_length=True).train] for _ in range(2))
    assert x == y                                                        # the same seed, the same batches
    for x,want in zip(a.valid, b.valid): torch.testing.assert_close(x, want)
    weighted = made(by_length=True, weights=np.where(vowels[1] == '3', 1, 0)).train
    assert {weighted.vocab[i] for *_,t in weighted for i in t} == {'3'}
    for dl in (a.train.new(num_workers=2), pickle.loads(pickle.dumps(a.train))): assert dl.by_length and steps(dl) < .8 * steps(b.train)

def test_loaders_pickled_without_the_newer_attributes(vowels):
    dls = TSDataLoaders.from_numpy(*vowels).new_empty()
    for dl in dls.loaders:
        for o,names in ((dl, ('weights', 'by_length')), (dl.dataset, ('sl',))):
            for k in names: vars(o).pop(k, None)
    dls = pickle.loads(pickle.dumps(dls))
    assert (dls.len, dls.vars) == (29, 12) and dls.test_dl(vowels[0][:3]).one_batch()[0].shape == (3, 12, 29)

def test_one_transform_needs_no_list():
    dls = TSDataLoaders.from_numpy(random_series(20, 3, 7).numpy(), ['a', 'b']*10, batch_tfms=TSStandardize(by_sample=True), seed=0)
    assert [type(o) for o in dls.after_batch.fs] == [TSStandardize]
