"Loaders of series with unequal lengths, with missing values, and from files larger than memory."
import mmap
import os
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from fastai.basics import ClassificationInterpretation, Learner, accuracy, set_seed
from fasttransform import Transform
from torch import nn

from tests.common import SMALL, load_exported, quiet_fit
from tsai_rnnattn.data.archives import get_UCR_data
from tsai_rnnattn.data.augment import TSJitter
from tsai_rnnattn.data.dataset import TSDataset, _release_pages
from tsai_rnnattn.data.loaders import TSDataLoader, TSDataLoaders
from tsai_rnnattn.data.transforms import TSImpute, TSStandardize
from tsai_rnnattn.data.types import pad_series
from tsai_rnnattn.models import GRUAttentionPlus

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
    'too few to draw from': (lambda: dict(y=np.arange(20) // 2, splits=None), 'too few for 10 classes'),
    'too few left for training': (lambda: dict(y=np.arange(20) // 2, valid_pct=0.6, splits=None), 'too few for 10 classes'),
    'valid_pct above 1': (lambda: dict(valid_pct=1.5, splits=None), 'valid_pct=1.5: must be between 0 and 1'),
    'valid_pct 1': (lambda: dict(valid_pct=1, splits=None), 'valid_pct=1: must be between 0 and 1'),
    'valid_pct 0': (lambda: dict(valid_pct=0, splits=None), 'valid_pct=0: must be between 0 and 1'),
    'bs larger than the training split, with drop_last': (lambda: dict(bs=16, drop_last=True), 'training has 15 series'),
    'bs': (lambda: dict(bs=0), 'bs=0'),
    'val_bs': (lambda: dict(val_bs=0), 'val_bs=0'),
    'lengths for other series': (lambda: dict(lengths=[3] * 19), r'expected one length per series, \[20\]'),
    'a length of 0': (lambda: dict(lengths=[3] * 19 + [0]), 'sample 19 is 0'),
    'weights for other series': (lambda: dict(weights=[1] * 15), 'one per series, 20 in total'),
    'no weight in training': (lambda: dict(weights=[0] * 15 + [1] * 5), 'not all 0 in training'),
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
