"Targets of every shape in a fastai Learner: training, predictions as arrays, plots, export."
import re
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.basics import (
    AccumMetric,
    AvgLoss,
    BCELossFlat,
    BCEWithLogitsLossFlat,
    ClassificationInterpretation,
    FocalLossFlat,
    Interpretation,
    L1LossFlat,
    LabelSmoothingCrossEntropyFlat,
    Learner,
    MSELossFlat,
    R2Score,
    accuracy,
    mae,
    mse,
    rmse,
    set_seed,
)
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


class KnownModel(torch.nn.Module):
    "Predicts `want(mean of the series)`, standardized as `targets` says; the last series of `series()` with an error of 30"
    def __init__(self, targets):
        super().__init__()
        self.mean, self.std = torch.as_tensor(np.asarray(targets.mean)).float(), torch.as_tensor(np.asarray(targets.std)).float()
        self.bias = torch.nn.Parameter(torch.zeros(1))
    def forward(self, x):
        m = x.mean((1, 2))
        return (known(m, len(self.mean)) + 30 * (m > 38.5)[:, None] - self.mean) / self.std + self.bias

def known(m, k): return torch.stack([5000 + 7*m + 1000*i*(1 + m/20) for i in range(k)], 1)

LEVELS = np.arange(40.)[:, None, None] * np.ones((40, 1, 3))             # series i is full of i

def known_learner(k=1, **kw):
    y = known(torch.arange(40.), k).double().numpy()
    dls = TSDataLoaders.from_numpy(LEVELS, y, SPLITS, bs=4, batch_tfms=[], standardize_y=True)
    return Learner(dls, KnownModel(dls.train_ds.targets), **kw), y

@pytest.mark.parametrize('k', (1, 3))
def test_decoded_predictions_of_standardized_numbers_are_in_units_everywhere(k, tmp_path):
    learn, y = known_learner(k)
    want = y[30:] + 30 * (np.arange(30, 40) == 39)[:, None]
    learn.export(tmp_path/'m.pkl')
    for l in (learn, load_exported(tmp_path/'m.pkl')):
        with l.no_bar():
            got, truth, decoded = l.get_X_preds(LEVELS[30:], y[30:])
            dl = l.dls.test_dl(LEVELS[30:], y[30:])
            preds, targets, with_decoded = l.get_preds(dl=dl, with_decoded=True)
            of_one = [l.predict(x) for x in LEVELS[30:]]
        for o in (got, decoded, with_decoded.numpy(), np.stack([o[0].numpy() for o in of_one]), np.stack([o[1].numpy() for o in of_one])):
            np.testing.assert_allclose(o, want, rtol=1e-5)
        np.testing.assert_allclose(truth, y[30:], rtol=1e-6)
        standardized = (want - y[:30].mean(0)) / y[:30].std(0)           # of `get_preds`: as the model and the loss see them
        np.testing.assert_allclose(preds, standardized, atol=1e-3)
        np.testing.assert_allclose(targets, (y[30:] - y[:30].mean(0)) / y[:30].std(0), atol=1e-3)

def test_plots_of_standardized_numbers_are_in_units():
    learn, y = known_learner()
    with learn.no_bar():
        learn.show_results(max_n=4, shuffle=False)
        titles = [ax.get_title() for ax in matplotlib.pyplot.gcf().axes[:4]]
        assert titles == [f'{v:.4g} → {v:.4g}' for v in y[30:34, 0]]
        Interpretation.from_learner(learn).plot_top_losses(1)
    assert matplotlib.pyplot.gcf().axes[0].get_title().startswith(f'{y[39, 0]:.4g} → {y[39, 0] + 30:.4g}')
    learn.dls.valid.show_batch(max_n=1)
    assert matplotlib.pyplot.gcf().axes[0].get_title() == f'{y[30, 0]:.4g}'
    matplotlib.pyplot.close('all')

@pytest.mark.parametrize('loss', (L1LossFlat(), torch.nn.L1Loss(), F.huber_loss), ids=('fastai', 'torch', 'function'))
def test_another_loss_is_decoded_by_the_loaders(loss):
    learn, y = known_learner(loss_func=loss)
    with learn.no_bar(): preds, _, decoded = learn.get_X_preds(LEVELS[30:]); one, *_ = learn.predict(LEVELS[31])
    for o in (preds, decoded): np.testing.assert_allclose(o[:9], y[30:39], rtol=1e-5)
    np.testing.assert_allclose(one, y[31], rtol=1e-5)

@pytest.mark.parametrize('k', (1, 3))
def test_metrics_in_units(k, tmp_path):
    "The error is 30 in one of ten series"
    learn, _ = known_learner(k)
    dls = learn.dls
    learn.metrics = [dls.in_units(o) for o in (mae, rmse, mse, AccumMetric(np_error, to_np=True, flatten=False), R2Score())]
    with learn.no_bar(): _, *values = learn.validate()
    assert learn.metrics.map(lambda m: m.name) == ['mae', '_rmse', 'mse', 'np_error', 'r2_score']
    np.testing.assert_allclose(values[:4], [3, 90**.5, 90, 3], rtol=1e-3)
    assert 0 < values[4] < 1                                             # has no unit
    assert rmse.func.__name__ == '_rmse'                                 # fastai's own metric is as it was
    learn.export(tmp_path/'m.pkl')
    load_exported(tmp_path/'m.pkl')

def np_error(pred, y): return np.abs(pred - y).mean()

def test_metrics_in_units_in_training():
    learn, _ = known_learner()
    learn.metrics = learn.dls.in_units(mae)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, lr=0.)
    assert learn.recorder.metric_names == ['epoch', 'train_loss', 'valid_loss', 'mae', 'time']
    assert learn.recorder.values[-1][-1] == pytest.approx(3, rel=1e-3)

@pytest.mark.parametrize('y', (YS['floats'], YS['ints'], YS['flags']), ids=('numbers', 'labels', 'flags'))
def test_metrics_of_other_targets_are_as_they_are(y):
    dls = TSDataLoaders.from_numpy(X, y, SPLITS)
    for metric in (mae, accuracy, rmse): assert dls.in_units(metric) is metric

def test_metrics_that_cannot_be_in_units_are_refused():
    learn, _ = known_learner()
    for metric in (AvgLoss(), AvgLoss):
        with pytest.raises(TypeError, match='AvgLoss is not computed from predictions and targets'): learn.dls.in_units(metric)

def test_predictions_in_a_range_of_units():
    y = rng.normal(5000, 400, 40)
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X, y, SPLITS, bs=8, standardize_y=True)
    learn = Learner(dls, GRUAttentionPlus(2, 1, 11, y_range=dls.y_range(4000, 6000), **SMALL))
    quiet_fit(learn, 2)
    with torch.no_grad(): learn.model.head[-2].weight.mul_(1000)         # into both ends of the sigmoid
    with learn.no_bar(): preds, *_ = learn.get_X_preds(X * 5)
    assert 4000 <= preds.min() < 4001 and 5999 < preds.max() <= 6000

@settings(max_examples=100, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e5), st.floats(-9, 0), st.floats(.1, 9))
def test_bounds_are_never_exceeded(mean, std, a, b):
    numbers = TSNumbers(np.array([mean - std, mean + std]), True)
    low, high = mean + a*std, mean + b*std
    bounds = torch.tensor(numbers.y_range(low, high))                    # float32, as in a model
    got = numbers.decode_batch(bounds[:, None])[:, 0]
    assert low <= got[0] and got[1] <= high
    np.testing.assert_allclose(got, [low, high], rtol=1e-6, atol=1e-5*std)

def test_ranges_that_cannot_be_given_are_refused():
    dls = TSDataLoaders.from_numpy(X, YS['ints'], SPLITS)
    with pytest.raises(ValueError, match='requires numbers to predict, got TSLabels'): dls.y_range(0, 1)
    several = TSNumbers(rng.normal([0, 100], 1, (20, 2)), True)
    with pytest.raises(ValueError, match='the same mean and standard deviation'): several.y_range(0, 1)
    assert TSNumbers(rng.normal([0, 100], 1, (20, 2))).y_range(0, 1) == (0, 1)

@pytest.mark.parametrize('y_range, loc, scale', [((4000, 6000), 5000, 300), ((0, 100), 50, 10), ((-6000, -4000), -5000, 300)], ids=str)
def test_a_range_in_units_is_refused_before_the_first_step(y_range, loc, scale):
    dls = TSDataLoaders.from_numpy(X, rng.normal(loc, scale, 40), SPLITS, bs=8, standardize_y=True)
    learn = Learner(dls, GRUAttentionPlus(2, 1, 11, y_range=y_range, **SMALL))
    before = [p.clone() for p in learn.model.parameters()]
    with pytest.raises(ValueError, match=r'y_range=dls.y_range\(low, high\)'): quiet_fit(learn)
    assert all(torch.equal(a, b) for a,b in zip(before, learn.model.parameters()))

@pytest.mark.filterwarnings('error:in the first batch')
def test_predictions_within_three_standard_deviations_are_ordinary():
    loss = TSNumbers(np.array([4., 6, 4, 6]), True).loss_func            # no target is more than 1 away
    assert loss(torch.full((3, 1), 2.9), torch.zeros(3, 1)) > 8

def test_a_smaller_range_in_units_is_warned_about():
    dls = TSDataLoaders.from_numpy(X, rng.normal(5, 1, 40), SPLITS, bs=8, standardize_y=True)
    with pytest.warns(UserWarning, match=r'y_range=dls.y_range\(low, high\)'):
        quiet_fit(Learner(dls, GRUAttentionPlus(2, 1, 11, y_range=(0, 10), **SMALL)))

@pytest.mark.filterwarnings('error:in the first batch')
@pytest.mark.parametrize('y', (YS['floats'], YS['matrix'], np.arange(40.) % 2, np.r_[1e6, np.zeros(39)]),
                         ids=('floats', 'matrix', 'two', 'outlier'))
@pytest.mark.parametrize('bs', (1, 8))
def test_training_without_a_range_is_never_refused(y, bs):
    for seed in range(3):
        set_seed(seed)
        dls = TSDataLoaders.from_numpy(X, 5000 + y, SPLITS, bs=bs, standardize_y=True)
        learn = Learner(dls, GRUAttentionPlus(2, dls.c, 11, d=dls.d, **SMALL))
        with learn.no_bar(), learn.no_logging(): learn.validate(); learn.fit(1, 10.)          # diverges

def test_lr_find_of_standardized_numbers():
    dls = TSDataLoaders.from_numpy(X, 5000 + YS['floats'], SPLITS, bs=8, standardize_y=True)
    with (learn := Learner(dls, GRUAttentionPlus(2, 1, 11, **SMALL))).no_bar(): learn.lr_find(end_lr=1e4, show_plot=False)
    quiet_fit(learn)

@pytest.mark.parametrize('dtype', (np.float16, np.float32, np.float64), ids=lambda t: t.__name__)
@pytest.mark.parametrize('value', (.1, 0, -3.3, 5e4, 1e-3), ids=str)
def test_constants_are_not_scaled(dtype, value):
    numbers = TSNumbers(np.full(1000, value, dtype), True)
    assert numbers.std == 1 and numbers.mean == dtype(value) and numbers.mean.dtype == float
    assert np.abs(numbers.encode(np.full(5, value, dtype)).numpy()).max() == 0

def test_a_constant_up_to_rounding_is_not_scaled():
    y = np.float32(.1) * (1 + np.float32(2**-23) * (np.arange(100) % 2)).astype(np.float32)
    assert len(np.unique(y)) == 2 and TSNumbers(y, True).std == 1

@pytest.mark.parametrize('dtype, loc, scale', [(np.float16, 100, 10), (np.float16, 0, 2e4), (np.float32, 1e6, 10), (float, 1.7e9, 1)],
                         ids=str)
def test_statistics_of_targets_are_exact(dtype, loc, scale):
    y = loc + scale * np.random.default_rng(1).normal(size=(5000, 2))
    y = (y.clip(-6e4, 6e4) if dtype == np.float16 else y).astype(dtype)
    numbers, exact = TSNumbers(y, True), y.astype(np.longdouble)
    np.testing.assert_allclose(numbers.mean, exact.mean(0).astype(float), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(numbers.std, exact.std(0).astype(float), rtol=1e-9)
    t = numbers.encode(y)
    np.testing.assert_allclose(t.numpy(), ((exact - exact.mean(0)) / exact.std(0)).astype(float), atol=1e-5)
    got = numbers.decode_batch(t)
    assert got.dtype == np.result_type(dtype, np.float32)
    np.testing.assert_allclose(got, y, rtol=1e-6 if dtype != np.float64 else 1e-15, atol=1e-6 * scale)

def test_learners_exported_with_former_targets_still_decode():
    numbers = TSNumbers(np.array([4., 6]), True)
    for k in ('standardize', 'dtype', 'farthest'): del numbers.__dict__[k]
    assert numbers.decode_batch(torch.tensor([[0.], [1.]])).tolist() == [[5], [6]] and type(numbers.loss_func) is type(MSELossFlat())


LOGITS = dict(ints=(torch.nn.CrossEntropyLoss(), F.cross_entropy), flags=(torch.nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits))
NAMES = dict(ints='CrossEntropyLossFlat()', flags='BCEWithLogitsLossFlat()')

@pytest.mark.parametrize('kind, loss', [(k, l) for k,ls in LOGITS.items() for l in ls], ids=('CE', 'ce', 'BCE', 'bce'))
def test_losses_of_torch_are_refused_where_outputs_are_decoded(kind, loss):
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X, YS[kind], SPLITS, bs=8)
    learn = quiet_fit(Learner(dls, GRUAttentionPlus(2, dls.c, 11, **SMALL), loss_func=loss))
    with torch.no_grad():
        for p in learn.model.head.parameters(): p.mul_(20)               # logits of a trained model
    says = re.escape(f'loss_func={NAMES[kind]}')
    with learn.no_bar():
        interp = Interpretation.from_learner(learn)
        for f in (lambda: learn.get_X_preds(X), lambda: learn.predict(X[0]), learn.show_results, lambda: interp.plot_top_losses(2)):
            with pytest.raises((TypeError, ValueError), match=says): f()
    matplotlib.pyplot.close('all')

def test_small_logits_are_not_taken_for_probabilities():
    dls = TSDataLoaders.from_numpy(X, YS['flags'], SPLITS, bs=8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(22, 4))
    torch.nn.init.zeros_(model[1].weight); torch.nn.init.constant_(model[1].bias, .4)        # .4 as a logit is a probability of .6
    for loss in (*LOGITS['flags'], partial(F.binary_cross_entropy_with_logits, pos_weight=torch.ones(4))):
        with (learn := Learner(dls, model, loss_func=loss)).no_bar(), pytest.raises(ValueError, match='BCEWithLogitsLossFlat'):
            learn.get_X_preds(X[:1])
    with (learn := Learner(dls, model)).no_bar(): probs, _, labels = learn.get_X_preds(X[:1])
    np.testing.assert_allclose(probs, 1 / (1 + np.exp(-.4)) * np.ones((1, 4)), rtol=1e-6)
    assert labels.all()

@pytest.mark.parametrize('loss', (torch.nn.NLLLoss(), lambda p, y: F.cross_entropy(p, y)), ids=('NLLLoss', 'a function'))
def test_outputs_that_no_loss_decodes_are_refused(loss):
    learn = Learner(TSDataLoaders.from_numpy(X, YS['ints'], SPLITS), GRUAttentionPlus(2, 3, 11, **SMALL), loss_func=loss)
    with learn.no_bar():
        for f in (lambda: learn.get_X_preds(X), lambda: learn.predict(X[0])):
            with pytest.raises(TypeError, match='expected indices of labels, got torch.float32'): f()

@pytest.mark.parametrize('kind, loss', [('ints', LabelSmoothingCrossEntropyFlat()), ('ints', FocalLossFlat()),
                                        ('flags', BCEWithLogitsLossFlat(thresh=.2))], ids=('label smoothing', 'focal', 'threshold'))
def test_losses_of_fastai_are_decoded_by_their_own_rule(kind, loss):
    dls = TSDataLoaders.from_numpy(X, YS[kind], SPLITS)
    learn = Learner(dls, GRUAttentionPlus(2, dls.c, 11, **SMALL), loss_func=loss)
    with learn.no_bar(): probs, _, labels = learn.get_X_preds(X)
    assert 0 <= probs.min() and probs.max() <= 1
    assert np.array_equal(labels, probs.argmax(1)) if kind == 'ints' else np.array_equal(labels, probs > .2)

def test_a_model_that_ends_in_probabilities():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(22, 4), torch.nn.Sigmoid())
    with (learn := Learner(TSDataLoaders.from_numpy(X, YS['flags'], SPLITS), model, loss_func=BCELossFlat())).no_bar():
        probs, _, labels = learn.get_X_preds(X)
        assert np.array_equal(labels, probs > .5) and list(learn.predict(X[0])[0]) == np.flatnonzero(labels[0]).tolist()
