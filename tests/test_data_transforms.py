"Statistics of scaling: where they come from, how exact they are, and which variables they concern."
import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tsai_rnnattn import scaling
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.transforms import TSClip, TSImpute, TSNormalize, TSRobustScale, TSStandardize
from tsai_rnnattn.data.types import TSLengths, TSTensor
from tsai_rnnattn.testing import error_text, random_series

SCALES = TSStandardize, TSNormalize, TSRobustScale
each_scale = pytest.mark.parametrize('T', SCALES, ids=lambda t: t.__name__)
OFFSETS = pytest.mark.parametrize('offset', (1e7, 1e8, 1.7e9), ids=str)
SIGNAL = random_series(13, 3, 7).double() * torch.tensor([[1], [10], [.5]])    # [n, c_in, sl]

def apply(tfm, x): return torch.Tensor(tfm(x.as_subclass(TSTensor)).float())

def fitted(tfm, x):
    tfm.fit(x.split(5))
    return tfm

def scaled(T, x, **kw): return apply(fitted(T(**kw), x), x)

def reference(T, x, dims):
    "Oracle in NumPy's float64 arithmetic"
    x = x.numpy()
    def at(q): return np.quantile(x, q, axis=dims, keepdims=True)
    shift, scale = {TSStandardize: lambda: (x.mean(dims, keepdims=True), x.std(dims, keepdims=True)),
                    TSNormalize: lambda: ((at(0) + at(1)) / 2, (at(1) - at(0)) / 2),
                    TSRobustScale: lambda: (at(.5), at(.75) - at(.25))}[T]()
    return torch.tensor((x - shift) / scale).float()


@each_scale
def test_each_fit_has_the_statistics_of_its_own_data(T):
    "As over the folds of a cross-validation with one list of transforms"
    tfm = T()
    for k in range(3):
        fold = SIGNAL + 100*k
        assert_close(apply(fitted(tfm, fold), fold), reference(T, fold, (0, 2)), atol=1e-5, rtol=1e-5)

def test_each_fit_of_an_imputation_has_the_means_of_its_own_data():
    tfm, gap = TSImpute('mean'), torch.full((1, 3, 1), torch.nan)
    for k in range(3):
        fold = SIGNAL + 100*k
        assert_close(apply(fitted(tfm, fold), gap), fold.mean((0, 2))[None, :, None].float())

def given():
    return TSStandardize(1, 2), TSNormalize(-3, 5), TSRobustScale([0, 1, 2], 3), TSImpute(mean=4), TSImpute('mean', True, [1, 2, 3])

@pytest.mark.parametrize('tfm', given(), ids=str)
def test_statistics_passed_as_arguments_are_not_fitted(tfm):
    for copy in (tfm, deepcopy(tfm), pickle.loads(pickle.dumps(tfm))):
        before = repr(copy)
        assert repr(fitted(copy, SIGNAL)) == before == repr(tfm)

def test_two_loaders_with_one_list_of_transforms_see_their_own_training_split():
    X, y = np.arange(40.)[:, None, None] * np.ones((40, 1, 3)), np.zeros(40)
    tfms = [TSImpute('mean'), TSStandardize()]
    for rows in (np.arange(20), np.arange(20, 40)):
        dls = TSDataLoaders.from_numpy(X, y, (rows, np.setdiff1d(np.arange(40), rows)), bs=7, batch_tfms=tfms)
        seen = torch.cat([x for x,_ in dls.train])
        assert_close((seen.mean(), seen.std(correction=0)), (torch.tensor(0.), torch.tensor(1.)), atol=1e-5, rtol=1e-5)


@each_scale
@OFFSETS
@pytest.mark.parametrize('kw, dims', [({}, (0, 2)), (dict(by_var=False), (0, 1, 2)), (dict(by_sample=True), (2,)),
                                      (dict(by_sample=True, by_var=False), (1, 2))], ids=str)
def test_a_signal_far_from_zero_is_scaled_like_the_signal(T, offset, kw, dims):
    z = scaled(T, SIGNAL + offset, **kw)
    assert_close(z, reference(T, SIGNAL, dims), atol=1e-5, rtol=1e-5)

@each_scale
@OFFSETS
def test_float32_series_are_scaled_without_further_error(T, offset):
    x = (SIGNAL * 1e4 + offset).float()                                  # with what float32 leaves of the signal
    assert_close(scaled(T, x), reference(T, x.double(), (0, 2)), atol=1e-6, rtol=1e-5)

@OFFSETS
def test_given_statistics_are_exact(offset):
    mean = [offset + .25, offset + .5, offset + .75]
    z = apply(TSStandardize(mean, 2), torch.tensor(mean, dtype=torch.float64)[None, :, None] + SIGNAL)
    assert_close(z, (SIGNAL / 2).float(), atol=1e-5, rtol=1e-5)

@each_scale
def test_decoding_has_the_precision_of_the_series(T):
    x = SIGNAL + 1.7e9
    tfm = fitted(T(), x)
    z = tfm(x.as_subclass(TSTensor))
    assert (z.dtype, tfm.decode(z).dtype, tfm.decode(z.double()).dtype) == (torch.float32, torch.float32, torch.float64)
    assert_close(tfm.decode(z.double()).as_subclass(torch.Tensor) - 1.7e9, SIGNAL, atol=1e-5, rtol=1e-5)
    assert_close(tfm.decode(z).as_subclass(torch.Tensor), x.float())

@each_scale
def test_constants_far_from_zero_are_not_scaled(T):
    for x in (torch.full((13, 3, 7), v, dtype=dtype) for v,dtype in ((1.7e9, torch.float64), (.1, torch.float64), (.1, torch.float32))):
        for kw in ({}, dict(by_sample=True)):
            z = scaled(T, x, **kw)
            assert z.abs().max() < 1e-6
        assert fitted(T(), x).scale.eq(1).all()

def test_rounding_is_not_a_spread():
    "Errors of a sum in float64, and of values that were computed in float32"
    many = torch.full((100_003, 1, 7), 3.3, dtype=torch.float64)
    tfm = TSStandardize()
    tfm.fit(many.split(997))
    assert tfm.std == 1
    noisy = torch.tensor(.1).nextafter(torch.tensor(1.)).where(torch.arange(70) % 2 == 0, .1).view(5, 2, 7)
    assert noisy.unique().numel() == 2 and fitted(TSStandardize(), noisy).std.eq(1).all()
    assert fitted(TSStandardize(), noisy.double() * (1 + 1e-9 * torch.arange(7.))).std.lt(1e-6).all()     # of float64 values: a spread

def test_imputation_keeps_dtype_and_precision():
    x = SIGNAL + 1.7e9
    with_gap = x.clone(); with_gap[0, :, 0] = torch.nan
    for how in ('mean', 'forward'):
        for series in (with_gap, with_gap.float()):
            filled = fitted(TSImpute(how), series)(series.as_subclass(TSTensor))
            assert filled.dtype == series.dtype and torch.equal(filled[1:].as_subclass(torch.Tensor), series[1:])
    mean = with_gap.nanmean((0, 2)) - 1.7e9
    filled = fitted(TSImpute('mean'), with_gap)(with_gap.as_subclass(TSTensor)).as_subclass(torch.Tensor)
    assert_close(filled[0, :, 0] - 1.7e9, mean, atol=1e-5, rtol=0)

@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16, torch.int16), ids=str)
@each_scale
def test_other_dtypes_become_float32(T, dtype):
    x = (SIGNAL * 10).to(dtype)
    z = fitted(T(), x)(x.as_subclass(TSTensor))
    assert z.dtype == torch.float32
    assert_close(torch.Tensor(z), reference(T, x.double(), (0, 2)), atol=1e-5, rtol=1e-5)

def test_values_beyond_the_range_of_half_precision_can_be_undone():
    z = TSStandardize(1e6, 1e5)(torch.full((1, 1, 2), 6e4, dtype=torch.float16).as_subclass(TSTensor))
    assert_close(torch.Tensor(z), torch.full((1, 1, 2), -9.4))
    assert TSStandardize(1e6, 1e5).decode(z.half()).dtype == torch.float32

def test_devices_without_float64_use_float32():
    class OnMPS:
        device = torch.device('mps')
        def float(self): return 'float32'
    assert scaling._precise(OnMPS()) == 'float32' and scaling._precise(torch.ones(2)).dtype == torch.float64
    x = random_series(2, 3, 5)
    assert {o.dtype for o in (scaling._as(torch.ones(1, 3, 1).double(), x), scaling._at_least_float32(x))} == {torch.float32}

def test_series_are_not_changed_in_place():
    x = SIGNAL.float()
    before = x.clone()
    for T in SCALES:
        for kw in ({}, dict(by_sample=True), dict(by_var=[1])): scaled(T, x, **kw)
    assert torch.equal(x, before)

def test_old_statistics_in_float32_still_scale():
    tfm = fitted(TSStandardize(), SIGNAL)
    want = apply(tfm, SIGNAL.float())
    tfm.shift, tfm.scale = tfm.shift.float(), tfm.scale.float()          # as in learners exported before
    del tfm.is_given
    assert_close(apply(tfm, SIGNAL.float()), want, atol=1e-6, rtol=1e-5)
    assert_close(tfm.decode(TSTensor(want)).as_subclass(torch.Tensor), SIGNAL.float(), atol=1e-5, rtol=1e-5)

@each_scale
@pytest.mark.parametrize('kw', ({}, dict(by_sample=True)), ids=str)
@pytest.mark.parametrize('dtype', (np.float64, np.int64), ids=lambda t: t.__name__)
def test_loaders_scale_a_signal_far_from_zero(T, kw, dtype):
    X = np.round(SIGNAL.numpy() * 1000)
    small, large = (TSDataLoaders.from_numpy(o, np.zeros(13), (range(10), range(10, 13)), bs=4, batch_tfms=[TSImpute(), T(**kw), TSClip()])
                    for o in (X, (X + 1.7e9).astype(dtype)))
    for a,b in zip(small.valid, large.valid):
        assert a[0].dtype == b[0].dtype == torch.float32
        assert_close(a[0], b[0], atol=1e-4, rtol=0)

def test_statistics_are_the_first_positional_arguments():
    x = torch.tensor([[[2.5, 4.5]]])
    assert apply(TSStandardize(.5, 2.), x).flatten().tolist() == [1, 2]
    assert apply(TSRobustScale(.5, 2.), x).flatten().tolist() == [1, 2]
    assert apply(TSNormalize(.5, 4.5), x).flatten().tolist() == [0, 1]

@each_scale
@pytest.mark.parametrize('kw', ({}, dict(by_sample=True)), ids=str)
@pytest.mark.parametrize('by_var', ([1], [0, 2], (2, 0), list(np.arange(2)), [0, 1, 2]), ids=str)
def test_a_list_of_variables_scales_these_and_no_others(T, kw, by_var):
    x = SIGNAL.float()
    z, every = scaled(T, x, by_var=by_var, **kw), scaled(T, x, **kw)
    others = [v for v in range(3) if v not in by_var]
    assert torch.equal(z[:, list(by_var)], every[:, list(by_var)]) and torch.equal(z[:, others], x[:, others])
    tfm = fitted(T(by_var=by_var, **kw), x)
    if not kw: assert_close(tfm.decode(TSTensor(z)).as_subclass(torch.Tensor), x, atol=1e-5, rtol=1e-5)

@each_scale
@pytest.mark.parametrize('by_var', (None, 1, 0, 1., 'all', [], [True], [0, -1], [0.], ['0'], [[0, 1], [2]], [0, [1, 2]]), ids=str)
def test_other_values_of_by_var_are_refused(T, by_var):
    assert 'must be True, False, or a list of variables such as [0, 2]' in error_text(lambda: T(by_var=by_var))

@each_scale
def test_lists_of_variables_that_do_not_fit_are_refused(T):
    for kw in ({}, dict(by_sample=True)):
        assert 'by_var=[0, 3]: the series have 3 variables' in error_text(lambda kw=kw: scaled(T, SIGNAL, by_var=[0, 3], **kw))
    assert 'by_var=[0] with' in error_text(lambda: T(0, 1, by_var=[0]))

def test_normalized_values_stay_in_range_up_to_rounding():
    x = (SIGNAL / 100 + 1e4).float()
    for range in ((-1, 1), (0, 5)):
        z = scaled(TSNormalize, x, range=range)
        assert_close((z.amin((0, 2)), z.amax((0, 2))), tuple(torch.full((3,), float(o)) for o in range), atol=1e-6, rtol=1e-6)

def test_unseen_values_leave_the_range_unless_clipped():
    tfm, unseen = fitted(TSNormalize(), torch.tensor([[[0., 10]]])), torch.tensor([[[-5., 20]]])
    assert apply(tfm, unseen).flatten().tolist() == [-2, 3] and apply(TSClip(-1, 1), apply(tfm, unseen)).flatten().tolist() == [-1, 1]

def test_padding_of_a_series_far_from_zero_does_not_count():
    x, n = SIGNAL[:3] + 1e8, TSLengths(torch.tensor([2, 5, 7]))
    for T in SCALES:
        z, _ = T(by_sample=True)((x.as_subclass(TSTensor), n))
        for i,k in enumerate(n.tolist()):
            assert_close(torch.Tensor(z[i, :, :k]), reference(T, SIGNAL[i:i+1, :, :k], (2,))[0], atol=1e-5, rtol=1e-5)
