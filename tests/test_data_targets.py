"Targets of every shape in a fastai Learner: training, predictions as arrays, plots, export."
import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.basics import ClassificationInterpretation, Learner, set_seed
from hypothesis import given, settings
from hypothesis import strategies as st

import tsai_rnnattn.interpret
import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
from tests.common import SMALL, load_exported, quiet_fit
from tsai_rnnattn.checks import check_y
from tsai_rnnattn.data.augment import TSJitter, TSMixUp, TSTimeWarp
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.targets import TSMultiLabels, TSNumbers, make_targets
from tsai_rnnattn.data.transforms import TSClip, TSImpute, TSNormalize, TSRobustScale, TSStandardize
from tsai_rnnattn.models import GRUAttentionPlus

matplotlib.use('agg')
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 2, 11)).astype(np.float32)
SPLITS = (range(30), range(30, 40))
YS = dict(strings=np.array(['a', 'b', 'c', 'b'] * 10), ints=np.arange(40) % 3, bools=np.arange(40) % 2 == 0,
    column=np.array(['a', 'b'] * 20)[:, None], places=np.arange(200).reshape(40, 5) % 3,
    plane=np.array(list('abcd') * 150).reshape(40, 3, 5), flags=rng.random((40, 4)) < .5,
    floats=rng.normal(size=40), float_column=rng.normal(size=(40, 1)), vector=rng.normal(size=(40, 3)), matrix=rng.normal(size=(40, 3, 5)))

def fitted(y, n_epoch=1, **kw):
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X, y, SPLITS, bs=8, **kw)
    return quiet_fit(Learner(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, d=dls.d, **SMALL)), n_epoch)

@pytest.mark.parametrize('kind', YS)
def test_targets_of_every_shape_are_decoded(kind, tmp_path):
    y = YS[kind]
    learn = fitted(y)
    want = y[30:, 0] if y.shape[1:] == (1,) and y.dtype.kind != 'f' else y[30:, None] if y.ndim == 1 and y.dtype.kind == 'f' else y[30:]
    with learn.no_bar():
        preds, targets = learn.get_preds()
        probs, truth, decoded = learn.get_X_preds(X[30:], y[30:])
        first, *_ = learn.predict(X[30])
    assert preds.shape[:targets.ndim] == targets.shape                   # for labels, `preds` has an axis of classes, too
    assert all(isinstance(o, np.ndarray) for o in (probs, truth, decoded)) and truth.shape == decoded.shape == want.shape
    assert np.array_equal(truth, want) if y.dtype.kind != 'f' else np.allclose(truth, want)
    if kind == 'flags': assert list(first) == np.flatnonzero(decoded[0]).tolist()
    elif y.dtype.kind == 'f': np.testing.assert_allclose(first, decoded[0], atol=1e-5, rtol=1e-4)
    else: assert np.array_equal(first, decoded[0])
    learn.export(tmp_path/'m.pkl')
    loaded = load_exported(tmp_path/'m.pkl')
    with loaded.no_bar(): again = loaded.get_X_preds(list(X[30:]), bs=3)
    np.testing.assert_allclose(again[0], probs, atol=1e-5, rtol=1e-4)
    assert again[1] is None and (loaded.dls.c, loaded.dls.d) == (learn.dls.c, learn.dls.d)

@pytest.mark.parametrize('kind', YS)
def test_targets_of_every_shape_are_shown(kind):
    learn = fitted(YS[kind])
    learn.dls.valid.show_batch(max_n=2)
    assert all(ax.get_title() for ax in matplotlib.pyplot.gcf().axes[:2])
    with learn.no_bar(): learn.show_results(max_n=2, shuffle=False)
    assert [' → ' in ax.get_title() for ax in matplotlib.pyplot.gcf().axes[:2]] == [True, True]
    matplotlib.pyplot.close('all')

def test_top_losses_are_plotted_for_unequal_lengths_and_a_shuffled_training_split():
    series = [x[:, :5 + i % 7] for i,x in enumerate(X)]
    class Last(torch.nn.Module):
        def __init__(self): super().__init__(); self.out = torch.nn.Linear(2, 3)
        def forward(self, x, lengths): return self.out(x.sum(2) / lengths[:, None])
    learn = Learner(TSDataLoaders.from_numpy(series, YS['ints'], SPLITS, bs=4, batch_tfms=[TSStandardize(), TSJitter()]), Last())
    with learn.no_bar():
        for ds_idx,rows in enumerate(SPLITS):
            interp = ClassificationInterpretation.from_learner(learn, ds_idx=ds_idx)
            interp.plot_top_losses(3)
            axes = matplotlib.pyplot.gcf().axes
            places = interp.top_losses(3)[1].tolist()
            assert [len(ax.lines[0].get_xdata()) for ax in axes[:3]] == [series[rows[p]].shape[1] for p in places]
            assert [ax.get_title()[0] for ax in axes[:3]] == [str(YS['ints'][rows[p]]) for p in places]
    matplotlib.pyplot.close('all')

@pytest.mark.parametrize('y', (YS['floats'], YS['vector'], YS['matrix']), ids=lambda y: str(y.shape))
def test_standardized_targets_are_decoded(y):
    y = 5000 + 300 * y
    learn = fitted(y, standardize_y=True)
    batch = torch.cat([t for _,t in learn.dls.train])
    torch.testing.assert_close(batch.mean(0), torch.zeros_like(batch[0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(batch.std(0, correction=0), torch.ones_like(batch[0]))
    with learn.no_bar():
        preds, truth, _ = learn.get_X_preds(X[30:], y[30:])
        one, *_ = learn.predict(X[30])
    np.testing.assert_allclose(truth, y[30:].reshape(truth.shape), rtol=1e-5)
    assert preds.shape == truth.shape and 3000 < preds.min() and preds.max() < 7000
    np.testing.assert_allclose(one, preds[0], rtol=1e-5)

def test_scale_of_numbers():
    y = np.array([[1.], [1.001], [1.002]])
    assert np.array_equal(TSNumbers(y).encode(y), y.astype(np.float32))  # as they are, unless standardized
    torch.testing.assert_close(torch.Tensor(TSNumbers(y, True).encode(y)), torch.tensor([[-1.], [0], [1]]) * 1.5**0.5, atol=1e-5, rtol=0)
    assert np.array_equal(TSNumbers(np.ones(3), True).encode(np.ones(3)), np.zeros((3, 1)))      # constant: only the mean is subtracted

def test_a_probability_of_one_half_is_no_label():
    targets, probs = TSMultiLabels(np.zeros((2, 3), bool)), torch.tensor([0.5, 0.6, 0.4])
    assert list(targets.decode(probs)) == [1] and targets.decode_batch(probs[None]).tolist() == [[False, True, False]]

def test_balanced_class_weights():
    y = np.where(np.arange(40) % 10 == 0, 'rare', 'usual')
    learn = fitted(y, class_weight='balanced')
    weight = dict(zip(learn.dls.vocab, learn.dls.train_ds.targets.weight.tolist()))
    assert weight == pytest.approx({'rare': 30/(2*3), 'usual': 30/(2*27)})

def test_class_weights_move_to_the_device_of_the_predictions():
    loss = make_targets(np.array(['a', 'b', 'b']), 'balanced').loss_func
    assert loss(torch.zeros(3, 2, device='meta'), torch.zeros(3, dtype=torch.int64, device='meta')).device.type == 'meta'

def test_weights_are_matched_to_the_rows_of_the_training_split():
    y = np.arange(40) % 2
    series = np.arange(40)[:, None, None] * np.ones((40, 1, 3))
    weights = np.where(np.arange(40) >= 35, 1, 0)                        # only the last five can be drawn
    dls = TSDataLoaders.from_numpy(series, y, (range(20, 40), range(20)), bs=8, weights=weights, batch_tfms=[])
    seen = torch.cat([x[:, 0, 0] for x,_ in dls.train]).int().tolist()
    assert len(seen) == 20 and set(seen) <= {35, 36, 37, 38, 39}
    assert torch.cat([x[:, 0, 0] for x,_ in dls.valid]).int().tolist() == list(range(20))

TFMS = ([TSNormalize()], [TSRobustScale(), TSClip(-3, 3)], [TSStandardize(by_sample=True)], [TSStandardize(by_var=False)],
        [TSImpute(), TSStandardize(), TSJitter(), TSTimeWarp()])

@pytest.mark.parametrize('tfms', TFMS, ids=lambda t: type(t[0]).__name__)
def test_transforms_are_exported_with_the_learner(tfms, tmp_path):
    learn = fitted(YS['ints'], batch_tfms=tfms)
    with learn.no_bar(): want, _ = learn.get_preds()
    learn.export(tmp_path/'m.pkl')
    loaded = load_exported(tmp_path/'m.pkl')
    with loaded.no_bar():
        torch.testing.assert_close(torch.tensor(loaded.get_X_preds(X[30:])[0]), want, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(loaded.predict(X[33])[2], want[3], atol=1e-5, rtol=1e-4)

def test_mixup_trains_and_is_reproducible():
    def losses():
        set_seed(3)
        dls = TSDataLoaders.from_numpy(X, YS['ints'], SPLITS, bs=8)
        learn = quiet_fit(Learner(dls, GRUAttentionPlus(2, 3, 11, **SMALL), cbs=TSMixUp()), 2)
        return torch.stack(learn.recorder.losses)
    assert torch.equal(losses(), losses())

@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from(('int', 'bool', 'str')), st.integers(2, 12))
def test_decoding_inverts_encoding(data, kind, n):
    of = dict(int=st.integers(-5, 5), bool=st.booleans(), str=st.text('abc', min_size=1, max_size=3))[kind]
    y = check_y(data.draw(st.lists(of, min_size=n, max_size=n)), n)
    targets = make_targets(y)
    codes = targets.encode(y)
    assert codes.max() < targets.c == len(set(y.tolist()))
    assert np.array_equal(targets.decode_batch(codes), y)

@settings(max_examples=40, deadline=None)
@given(st.integers(4, 60), st.integers(1, 70), st.integers(0, 99), st.booleans())
def test_each_epoch_has_every_series_once(n, bs, seed, ragged):
    series = [np.full((1, 1 + i % 5 if ragged else 3), i, np.float32) for i in range(n)]
    rows = np.random.default_rng(seed).permutation(n)
    dls = TSDataLoaders.from_numpy(series, np.zeros(n), (rows[:n//2], rows[n//2:]), bs=bs, batch_tfms=[])
    for dl in dls.loaders:
        seen = [int(v) for x,*_ in dl for v in x[:, 0, 0]]
        assert sorted(seen) == sorted(dl.dataset.rows) and (dl is dls.train or seen == dl.dataset.rows.tolist())

@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 9), st.integers(1, 3), st.booleans())
def test_statistics_ignore_padding_and_missing_values(data, n, c_in, by_var):
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=n, max_size=n))
    r = np.random.default_rng(data.draw(st.integers(0, 99)))
    series = [np.where(r.random((c_in, k)) < .2, np.nan, r.normal(3, 2, (c_in, k))).astype(np.float32) for k in lengths]
    tfm = TSDataLoaders.from_numpy(series, np.zeros(n), (range(n - 1), [n - 1]), batch_tfms=[TSStandardize(by_var=by_var)]).after_batch[0]
    values = np.concatenate(series[:-1], 1).astype(float)                # [c_in, all real steps]
    for v in range(c_in) if by_var else [slice(None)]:
        real = values[v][np.isfinite(values[v])]
        if len(real) < 2 or real.std() < 1e-3: continue
        i = v if by_var else 0
        np.testing.assert_allclose(tfm.shift[0, i, 0], real.mean(), atol=1e-5, rtol=1e-4)
        np.testing.assert_allclose(tfm.scale[0, i, 0], real.std(), atol=1e-5, rtol=1e-4)

def test_a_data_frame_with_missing_values_trains_and_predicts():
    ids, steps = np.repeat(np.arange(40), 11), np.tile(np.arange(11), 40)
    long = pd.DataFrame(dict(id=ids, t=steps, a=X[:, 0].ravel(), b=X[:, 1].ravel(), y=np.repeat(YS['ints'], 11)))
    long.loc[5, 'a'] = np.nan
    long = long.sample(frac=1, random_state=0)
    kw = dict(y='y', values=['a', 'b'], id='id', time='t', seed=0, bs=8)
    with pytest.raises(ValueError, match='variable 0, step 5'): [list(dl) for dl in TSDataLoaders.from_df(long, **kw).loaders]
    dls = TSDataLoaders.from_df(long, **kw, batch_tfms=[TSImpute(), TSStandardize()])
    learn = quiet_fit(Learner(dls, GRUAttentionPlus(2, 3, 11, **SMALL)))
    assert all(p.isfinite().all() for p in learn.model.parameters())
    rows = long['id'].unique()[dls.valid_ds.rows]                        # series in order of first appearance
    with_gap = X.copy()
    with_gap[0, 0, 5] = np.nan
    with learn.no_bar(): (want, truth), (got, labels, _) = learn.get_preds(), learn.get_X_preds(with_gap[rows], YS['ints'][rows])
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=1e-4)
    assert np.array_equal(labels, YS['ints'][rows]) and np.array_equal(labels, np.array(dls.vocab)[truth])
