"""The page nbs/explanations/tsai.ipynb is true of tsai 1.0.1, and names everything that both libraries call the same.

What the page says of this library is asserted in its cells; the signatures are compared here as well. Tests of tsai itself are skipped
where it is not installed (`make bench` makes an environment with it)."""
import json
import re
import shutil
from contextlib import contextmanager
from importlib import import_module, reload
from importlib.util import find_spec
from inspect import Signature, signature
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fastai.learner import Learner
from matplotlib import pyplot as plt
from torch import nn
from torch.testing import assert_close

import tsai_rnnattn.all as ours  # before tsai, which adds methods to Learner as well
from benchmarks.common import shim_torchvision
from tests.common import learner_restored
from tsai_rnnattn.data.targets import TSNumbers
from tsai_rnnattn.data.types import TSTensor

matplotlib.use('agg')
PAGE = Path(__file__).parents[1]/'nbs'/'explanations'/'tsai.ipynb'
SMALL = dict(hidden_size=8, n_heads=2, d_ff=11, encoder_layers=1, encoder_dropout=0.)
X = (np.random.default_rng(0).normal(size=(40, 3, 7)) * [[1], [10], [100]] + [[0], [50], [-7]]).astype(np.float32)    # [n, c_in, sl]
Y, SPLITS = np.array(['a', 'b'] * 20), (list(range(30)), list(range(30, 40)))


def tsai(module):
    if find_spec('tsai') is None: pytest.skip('tsai is not installed: pip install tsai==1.0.1 beside this library to compare with it')
    shim_torchvision()
    with learner_restored(): return import_module(f'tsai.{module}')

@contextmanager
def learner_of_tsai():
    "`Learner` with the methods that tsai adds"
    modules = [tsai(o) for o in ('learner', 'inference', 'analysis')]
    with learner_restored(): yield [reload(o) for o in modules]

@pytest.fixture(autouse=True)
def seed(): torch.manual_seed(0); np.random.seed(0)

def theirs(name): return getattr(tsai(SIGNATURES[name][0]), name)

def arguments(f):
    params = [p.replace(annotation=p.empty) for k,p in signature(f).parameters.items() if k not in ('self', 'cls')]
    return str(Signature(params))[1:-1]

MODEL = 'c_in, c_out, seq_len, d=None, hidden_size=128, rnn_layers=1, bias=True, rnn_dropout=0, bidirectional=False, encoder_layers=3, ' \
        "n_heads=16, d_k=None, d_v=None, d_ff=256, encoder_dropout=0.1, act='gelu', fc_dropout=0.0, y_range=None, custom_head=None, " \
        'use_bn=True, flatten=True'
ARCHIVE = "on_disk=True, mode='c', Xdtype='float32', ydtype=None, "
SINGLE = 'use_single_batch=True, '
RECURRENT = "c_in, c_out, seq_len=None, hidden_size={}, n_layers=1, bias=True, rnn_dropout={}, bidirectional=False, {}fc_dropout=0.0, " \
            "last_step=True, {}custom_head=None, y_range=None, init_weights=True, {}"
CATEGORIES = 'n_cat_embeds=None, cat_embed_dims=None, cat_padding_idxs=None, cat_pos=None, feature_extractor=None, '
RNNS = (RECURRENT.format([100], 0, CATEGORIES, 'bn=False, ', '**kwargs'), RECURRENT.format(100, 0.0, '', '', '*, d=None, stateful=False'))
PLAIN = 'c_in, c_out, hidden_size=100, n_layers=1, bias=True, rnn_dropout=0, bidirectional=False, fc_dropout=0.0, init_weights=True'
SIGNATURES = {                                                           # name: its module in tsai, its parameters there, and here
    'RNNAttentionPlus': ('models.RNNAttentionPlus', MODEL, f"{MODEL}, *, causal=False, norm='batch', rnn_init=None"),
    'LSTMAttentionPlus': ('models.RNNAttentionPlus', MODEL, f"{MODEL}, *, causal=False, norm='batch', rnn_init=None"),
    'GRUAttentionPlus': ('models.RNNAttentionPlus', MODEL, f"{MODEL}, *, causal=False, norm='batch', rnn_init=None"),
    **{f'{cell}Plus': ('models.RNNPlus', *RNNS) for cell in ('RNN', 'LSTM', 'GRU')},
    **{cell: ('models.RNN', PLAIN, RNNS[1]) for cell in ('RNN', 'LSTM', 'GRU')},
    'lin_nd_head': ('models.layers',
        'n_in, n_out, seq_len=None, d=None, flatten=False, use_bn=False, fc_dropout=0.0',
        'n_in, n_out, seq_len=None, d=None, flatten=False, use_bn=False, fc_dropout=0.0, y_range=None'),
    'max_pool_head': ('models.layers',
        'n_in, c_out, seq_len, fc_dropout=0.0, bn=False, y_range=None, **kwargs',
        'd_model, c_out, seq_len=None, **kwargs'),
    'pool_head': ('models.layers',
        'n_in, c_out, seq_len=None, concat_pool=False, fc_dropout=0.0, bn=False, y_range=None, **kwargs',
        'pool, d_model, c_out, seq_len=None, *, d=None, fc_dropout=0.0, y_range=None, use_bn=True'),
    'ScaledDotProductAttention': ('models.layers', 'd_model, n_heads, attn_dropout=0.0, res_attention=False, lsa=False', 'd_k'),
    'get_activation_fn': ('models.RNNAttentionPlus', 'activation', 'activation'),
    'count_parameters': ('models.utils', 'model, trainable=True', 'model, trainable=True'),
    'TSStandardize': ('data.preprocessing',
        f'mean=None, std=None, by_sample=False, by_var=False, by_step=False, exc_vars=None, eps=1e-08, {SINGLE}verbose=False, **kwargs',
        'mean=None, std=None, by_sample=False, *, by_var=True'),
    'TSNormalize': ('data.preprocessing',
        'min=None, max=None, range=(-1, 1), by_sample=False, by_var=False, by_step=False, clip_values=True, '
        f'{SINGLE}verbose=False, **kwargs',
        'min=None, max=None, *, range=(-1, 1), by_sample=False, by_var=True'),
    'TSRobustScale': ('data.preprocessing',
        f'median=None, iqr=None, quantile_range=(25.0, 75.0), {SINGLE}exc_vars=None, eps=1e-08, verbose=False, **kwargs',
        'median=None, iqr=None, *, by_sample=False, by_var=True'),
    'TSClip': ('data.preprocessing', 'min=-6, max=6, **kwargs', 'min=-6, max=6'),
    'TSMagScale': ('data.transforms', 'magnitude=0.5, ex=None, **kwargs', 'amount=0.1, p=1.0'),
    'TSTimeWarp': ('data.transforms', 'magnitude=0.1, ord=6, ex=None, **kwargs', 'amount=0.3, p=1.0'),
    'TSWindowSlicing': ('data.transforms', "magnitude=0.1, ex=None, mode='nearest', **kwargs", 'amount=0.1, p=1.0'),
    'TSCutOut': ('data.transforms', 'magnitude=0.05, ex=None, **kwargs', 'amount=0.1, p=1.0'),
    'get_UCR_data': ('data.external',
        f"dsid, path='.', parent_dir='data/UCR', {ARCHIVE}return_split=True, split_data=True, force_download=False, verbose=False",
        None),                                                           # the page has its parameters
    'get_regression_data': ('data.external',
        f"dsid, path='./data/Monash', {ARCHIVE}split_data=True, force_download=False, verbose=False, timeout=4",
        None),
    'TSDataset': ('data.core',
        'X, y=None, split=None, sel_vars=None, sel_steps=None, types=None, dtype=None, device=None',
        'X, y=None, rows=None, targets=None, lengths=None, cut=False, split_idx=1')}

@pytest.mark.parametrize('name', [k for k,v in SIGNATURES.items() if v[2]])
def test_signature_here(name): assert arguments(getattr(ours, name)) == SIGNATURES[name][2]

@pytest.mark.parametrize('name', SIGNATURES)
def test_signature_in_tsai(name): assert arguments(theirs(name)) == SIGNATURES[name][1]

def test_loaders_and_predictions_take_other_arguments():
    core = tsai('data.core')
    from_numpy = arguments(core.TSDataLoaders.from_numpy)
    assert from_numpy.startswith('X, y=None, splitter=None, valid_pct=0.2, seed=0, item_tfms=None, batch_tfms=None')
    assert arguments(core.get_ts_dls).startswith('X, y=None, splits=None, ')
    for default in ('batch_tfms=None', 'drop_last=True'): assert default in arguments(core.get_ts_dls)
    assert arguments(core.TSDataLoader).startswith('dataset, bs=64, shuffle=False, drop_last=False, num_workers=0')
    mine = Learner.get_X_preds
    with learner_of_tsai():
        assert arguments(Learner.get_X_preds) == 'X, y=None, bs=64, with_input=False, with_decoded=True, with_loss=False, act=None'
        assert arguments(Learner.plot_top_losses) == 'X, y, k=9, largest=True, bs=64, **kwargs'
        for name in ('show_batch', 'save_all', 'plot_metrics', 'feature_importance'): assert hasattr(Learner, name)
    assert Learner.get_X_preds is mine and not hasattr(Learner, 'plot_top_losses')


def shared_names():
    "What this library exports and tsai defines under the same name"
    names = ('models.RNNAttentionPlus', 'models.RNNPlus', 'models.RNN', 'models.layers', 'models.utils', 'data.core', 'data.preprocessing',
             'data.transforms', 'data.external', 'data.validation', 'data.preparation', 'utils', 'learner', 'losses', 'metrics', 'analysis')
    modules = [tsai(o) for o in names]
    mine = {k for k,v in vars(ours).items() if getattr(v, '__module__', '').startswith('tsai_rnnattn')}
    return {k for m in modules for k,v in vars(m).items() if k in mine and getattr(v, '__module__', '').startswith('tsai')}

def test_the_page_names_what_both_have():
    text = '\n'.join(''.join(c['source']) for c in json.loads(PAGE.read_text())['cells'] if c['cell_type'] == 'markdown')
    shared = shared_names()
    assert {'TSStandardize', 'max_pool_head', 'GRUAttentionPlus', 'LastStep', 'TSTensor'} <= shared
    assert not [k for k in shared if not re.search(rf'`_?{k}\b', text)]


def test_recurrent_models_of_tsai():
    plus = [theirs(f'{cell}Plus') for cell in ('RNN', 'LSTM', 'GRU')]
    for M in plus:
        assert len([o for o in M(3, 2, hidden_size=[8, 8, 8]).backbone.rnn if isinstance(o, nn.RNNBase)]) == 1
        bias = M(3, 2, hidden_size=[8]).backbone.rnn[0].bias_ih_l0
        assert bias.sum() == len(bias) // 4                              # of an RNN: 2 of 8 features; of a GRU: parts of two gates
        M(3, 2, hidden_sizes=8)                                          # accepted

def gru(**kwargs): return theirs('GRUAttentionPlus')(3, kwargs.pop('c_out', 2), 7, **{**SMALL, **kwargs}).eval()
def batch(): return torch.randn(5, 3, 7)                                 # [bs, c_in, sl]

def test_options_of_tsais_models_without_effect():
    assert gru(d=4, y_range=(0, 0.01))(batch() * 1000).max() > 0.01
    calls = []
    def head(*args, **kwargs): calls.append((args, kwargs)); return nn.Flatten()
    gru(custom_head=head, d=4, fc_dropout=0.3, y_range=(0, 1), use_bn=False, flatten=False)
    assert calls == [((8, 2, 7), {})]
    for kw in (dict(), dict(d=4)):
        a, b = gru(**kw), gru(**kw, flatten=False)
        assert str(a) == str(b)

@pytest.mark.parametrize('kw', [dict(), dict(d=4), dict(d=7)], ids=str)
def test_checkpoints_with_flatten_false(kw):
    "Ignored in tsai unless `d` has `seq_len` places: the checkpoint loads with flatten=True"
    checkpoint, x = gru(**kw, flatten=False), batch()
    mine = ours.GRUAttentionPlus(3, 2, 7, **SMALL, **kw, flatten=kw.get('d') != 7)
    mine.load_state_dict(checkpoint.state_dict())
    assert_close(mine.eval()(x), checkpoint(x), atol=1e-5, rtol=0)

@pytest.mark.parametrize('kw, error', [
    (dict(n_heads=0), ZeroDivisionError), (dict(n_heads=16), AssertionError), (dict(n_heads=16, d_k=3, d_v=2), AssertionError),
    (dict(act='ReLU'), TypeError), (dict(act='silu'), TypeError), (dict(causal=True), TypeError)], ids=str)
def test_refused_by_tsais_models(kw, error):
    with pytest.raises(error): gru(**kw)

ACCEPTED = dict(encoder_layers=0), dict(fc_dropout=1), dict(y_range=()), dict(y_range=(10, 0)), dict(act=nn.SiLU)
@pytest.mark.parametrize('kw', ACCEPTED, ids=str)
def test_accepted_by_tsais_models(kw): assert gru(**kw)(batch()).shape == (5, 2)

def test_batches_that_tsais_models_refuse():
    for x in (torch.randn(5, 3, 8), torch.randn(5, 7, 3)):
        with pytest.raises(RuntimeError): gru()(x)
    with pytest.raises(TypeError): gru()(batch(), torch.tensor([7, 3, 5, 7, 1]))
    assert gru(c_out=1)(batch()).shape == (5, 1)

def test_masks_of_tsai():
    module, mask = tsai('models.RNNAttentionPlus'), torch.ones(4, 6, dtype=torch.bool).triu(3)
    q, k, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 2)
    context, weights = module._ScaledDotProductAttention(5)(q, k.transpose(2, 3), v, mask)
    assert not weights[:, :, mask].any()
    assert_close(ours.ScaledDotProductAttention(5)(q, k, v, ~mask), (context, weights))
    x, mask = torch.randn(2, 7, 6), torch.ones(7, 7, dtype=torch.bool).triu(1)
    layer, attention = module._TSTEncoderLayer(7, 6, 2).eval(), module._MultiHeadAttention(6, 2, 3, 3)
    assert torch.equal(layer(x, mask), layer(x)) and torch.equal(attention(x, x, x, mask)[0], attention(x, x, x)[0])
    for good in ('relu', 'gelu', nn.Mish): assert isinstance(module.get_activation_fn(good), nn.Module)
    for bad in ('ReLU', 'mish', nn.Mish()):
        with pytest.raises(TypeError): module.get_activation_fn(bad)
    assert tsai('models.utils').count_parameters(nn.Linear(3, 2)) == 8


def test_heads_of_tsai():
    layers, x = tsai('models.layers'), batch()
    assert layers.lin_nd_head(3, 1)(x).shape == (5,) and layers.lin_nd_head(3, 1, d=4)(x).shape == (5, 4)
    assert str(layers.lin_nd_head(3, 2, 7, d=4)) == str(layers.lin_nd_head(3, 2, 7, d=4, flatten=True))
    assert str(layers.lin_nd_head(3, 2, flatten=True)) == str(layers.lin_nd_head(3, 2))
    with pytest.raises(TypeError): layers.lin_nd_head(3, 2, y_range=(0, 1))
    assert [type(o).__name__ for o in layers.max_pool_head(3, 2, 7)] == ['MaxPool1d', 'Reshape', 'LinBnDrop']
    assert '2.0.weight' in layers.max_pool_head(3, 2, 7).state_dict() and '2.1.weight' in layers.max_pool_head(3, 2, 7, 0.1).state_dict()
    assert isinstance(layers.max_pool_head(3, 2, 7, bn=True)[2][0], nn.BatchNorm1d)
    assert_close(layers.pool_head(3, 2, 7)[0](x), ours.MeanPool()(x))
    assert_close(layers.pool_head(3, 2, 7, concat_pool=True)[0](x).sort().values, torch.cat([x.mean(2), x.amax(2)], 1).sort().values)
    assert torch.equal(layers.LastStep()(x), x[..., -1])
    assert layers.SigmoidRange is ours.SigmoidRange and layers.SigmoidRange.__module__ == 'fastai.layers'
    layers.SigmoidRange(10, 0)

def test_nd_heads_of_tsai_load():
    layers, x = tsai('models.layers'), batch()
    steps = dict(seq_len=7, flatten=True)
    for kw in (dict(), dict(seq_len=7, d=7), dict(d=4), dict(**steps, d=(3, 4)), dict(**steps, use_bn=True)):
        head, mine = layers.lin_nd_head(3, 2, **kw).eval(), ours.lin_nd_head(3, 2, **kw).eval()
        mine.load_state_dict(head.state_dict())
        assert_close(mine(x), head(x))


@pytest.fixture
def core(tmp_path, monkeypatch):
    "tsai.data.core; its loaders write a directory"
    monkeypatch.chdir(tmp_path)
    return tsai('data.core')

def loaders(core, X=X, y=Y, splits=SPLITS, **kwargs):
    kind = core.TSRegression() if np.asarray(y).dtype.kind == 'f' else core.TSClassification()
    return core.get_ts_dls(X, y, splits=splits, **{'tfms': [None, kind], 'bs': 8, **kwargs})

def stat(t): return torch.Tensor(t).flatten()
def there(core, t): return core.TSTensor(torch.as_tensor(t, dtype=torch.float32))

def test_statistics_of_tsai(core):
    pre = tsai('data.preprocessing')
    tfm = pre.TSStandardize()
    loaders(core, batch_tfms=tfm)
    assert tfm.mean.shape == (1, 1, 1) and abs(stat(tfm.std) - X[:30].std(ddof=1)) > 1e-2      # 8 of 30 series
    tfm = pre.TSStandardize(by_var=True, use_single_batch=False)
    loaders(core, batch_tfms=tfm)
    assert tfm.mean.shape == (1, 3, 1)
    assert_close(stat(tfm.std).numpy(), X[:30].std((0, 2), ddof=1), atol=1e-3, rtol=1e-5)
    for tfm in (pre.TSStandardize(mean=torch.zeros(1)), pre.TSRobustScale(median=torch.zeros(1))):
        loaders(core, batch_tfms=tfm)
        assert stat(getattr(tfm, tfm.parameters[0])).abs().min() > 0                              # replaced
    tfm = pre.TSNormalize()
    loaders(core, batch_tfms=tfm)
    assert stat(tfm.min).numel() == 1
    tfm = pre.TSRobustScale()
    loaders(core, batch_tfms=tfm)
    assert stat(tfm.median).numel() == 3

def test_some_variables_and_constant_ones_in_tsai(core):
    pre, x = tsai('data.preprocessing'), there(core, X)
    for tfm in (pre.TSStandardize(by_var=[0, 2]), pre.TSStandardize(by_var=True, exc_vars=[1])):
        loaders(core, batch_tfms=tfm)
        assert_close(torch.Tensor(tfm(x))[:, 1], torch.Tensor(x)[:, 1])
    constant = X.copy(); constant[:, 1] = 5
    tfm, normalize = pre.TSStandardize(by_var=True), pre.TSNormalize(by_var=True)
    for o in (tfm, normalize): loaders(core, constant, batch_tfms=o)
    assert stat(tfm.std)[1] == pytest.approx(1e-8) and torch.Tensor(tfm(there(core, constant + 1)))[:, 1].min() > 1e7
    assert torch.Tensor(normalize(there(core, constant)))[:, 1].isnan().all()

def test_scaling_with_given_statistics_in_tsai(core):
    pre, x = tsai('data.preprocessing'), [[[0., 0.5, 1, 2]]]
    normalize = pre.TSNormalize(0, 1)
    assert stat(normalize(there(core, x))).tolist() == [-1, 0, 1, 1]                              # clipped
    assert stat(normalize.decode(there(core, x))).tolist() == x[0][0]
    assert stat(ours.TSNormalize(0, 1)(TSTensor(torch.tensor(x)))).tolist() == [-1, 0, 1, 3]
    robust = pre.TSRobustScale(torch.ones(1), 2*torch.ones(1))
    assert stat(robust(there(core, x))).tolist() == [-0.5, -0.25, 0, 0.5] and stat(robust.decode(there(core, x))).tolist() == x[0][0]
    mean, std = torch.tensor([[[1.], [2.], [3.]]]), torch.tensor([[[2.], [4.], [5.]]])
    got = ours.TSStandardize(mean, std)(TSTensor(torch.tensor(X)))
    assert_close(torch.Tensor(got), torch.Tensor(pre.TSStandardize(mean, std)(there(core, X))))
    assert stat(pre.TSClip()(there(core, [[[-9., 9]]]))).tolist() == [-6, 6]

def test_augmentation_and_order_in_tsai(core):
    pre, tfs = tsai('data.preprocessing'), tsai('data.transforms')
    kinds = pre.TSStandardize, pre.TSNormalize, pre.TSRobustScale, pre.TSClip
    augmentations = tfs.TSMagScale, tfs.TSTimeWarp, tfs.TSWindowSlicing, tfs.TSCutOut
    assert {o.order for o in kinds + augmentations} == {90}
    fs = loaders(core, batch_tfms=[pre.TSClip(), pre.TSStandardize()]).train.after_batch.fs
    assert [type(o) for o in fs] == [pre.TSClip, pre.TSStandardize]
    same = there(core, np.broadcast_to(X[0], (5, 3, 7)).copy())
    for tfm in augmentations:                                            # one draw for the whole batch
        changed = torch.Tensor(tfm(magnitude=0.5)(same, split_idx=0))
        assert_close(changed, changed[:1].expand(5, 3, 7))
    assert stat(tfs.TSMagScale()(there(core, np.ones((5, 3, 7))), split_idx=0)).unique().numel() == 1


def test_loaders_of_tsai(core):
    dls = loaders(core)
    assert [sum(len(x) for x,_ in dl) for dl in dls.loaders] == [24, 10] and not dls.after_batch.fs
    assert len(core.get_ts_dls(X, Y, tfms=[None, core.TSClassification()]).valid) == 0
    drawn = core.TSDataLoaders.from_numpy(X, Y, bs=7)
    assert (len(drawn.train_ds), sum(len(x) for x,_ in drawn.train), len(drawn.valid_ds)) == (32, 28, 8)
    with pytest.raises(TypeError): core.TSDataLoaders.from_numpy(X, Y, SPLITS)

def test_what_loaders_of_tsai_accept(core):
    unknown = np.where(np.arange(40) == 35, 'c', Y)
    dls = loaders(core, y=unknown)
    assert list(dls.vocab) == ['a', 'b'] and int(dls.valid_ds[5][1]) == 0
    loaders(core, splits=(list(range(30)), list(range(29, 40))))
    missing = X.copy(); missing[3, 1, 4] = np.nan
    assert sum(x.isnan().sum() for x,_ in loaders(core, missing, bs=10).train) == 1

@pytest.mark.parametrize('y, shape, c, d', [(X[:, 0, 0], (8,), 1, None), (X[:, 0, :3], (8, 3), 1, 3)], ids=['n', 'n, k'])
def test_numbers_in_tsai(core, y, shape, c, d):
    dls = loaders(core, y=y)
    assert (tuple(dls.one_batch()[1].shape), dls.c, dls.d) == (shape, c, d)
    mine = TSNumbers(y)
    assert (mine.c, mine.d) == (1 if y.ndim == 1 else 3, None)
    model = ours.GRUAttentionPlus(3, c, 7, d=d, **SMALL)
    model.load_state_dict(theirs('GRUAttentionPlus')(3, c, 7, d=d, **SMALL).state_dict())
    assert model(batch()).shape == (5, d or 1)

def test_archives_of_tsai(core, tmp_path, monkeypatch):
    external = tsai('data.external')
    bundled = Path(find_spec('sktime').origin).parent/'datasets'/'data'
    def download(url, target_dir, verbose): shutil.copytree(bundled/Path(url).stem, target_dir)
    monkeypatch.setattr(external, 'decompress_from_url', download)
    X, y, splits = external.get_UCR_data('japanesevowels', tmp_path, split_data=False)          # in any case
    assert (tmp_path/'data'/'UCR'/'JapaneseVowels').is_dir()             # below `path`
    mine, labels, _ = ours.get_UCR_data('JapaneseVowels', split_data=False)
    assert X.shape == (640, 12, 29) and y.tolist() == labels.tolist() and len(splits[0]) == 270
    assert (X[0, :, :3] == 0).all() and np.isnan(X[0, :, 23:]).all()    # at most 26 steps in training, 29 in the test data
    np.testing.assert_array_equal(X[0, :, 3:23], mine[0])

def test_archives_that_tsai_does_not_have(core, tmp_path, monkeypatch, capsys):
    external = tsai('data.external')
    def fail(*args): raise OSError
    monkeypatch.setattr(external, 'urlretrieve', fail)
    assert external.get_UCR_data('ACSF1', tmp_path) == (None,) * 4 and 'not been possible' in capsys.readouterr().out
    with pytest.raises(AssertionError): external.get_UCR_data('Nonesuch')
    assert (there(core, X).vars, there(core, X).len) == (3, 7)


def tsai_learner(core, tfm):
    dls = loaders(core, batch_tfms=tfm)
    learn = Learner(dls, theirs('LSTMAttentionPlus')(dls.vars, dls.c, dls.len, **SMALL))
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    return learn

def test_predictions_and_plots_of_tsai(core):
    with learner_of_tsai():
        learn = tsai_learner(core, tsai('data.preprocessing').TSStandardize())
        with learn.no_bar():
            probs, targets, decoded = learn.get_X_preds(X[30:], Y[30:])
            learn.show_results()
            assert re.fullmatch('True: [ab]\nPred: [ab]', plt.gcf().axes[0].get_title())
            learn.plot_top_losses(X[30:], Y[30:], 3)
            assert [o.get_title() in ('a', 'b') for o in plt.gcf().axes] == [True]*3
    assert torch.is_tensor(probs) and targets.tolist() == [0, 1]*5 and set(decoded) <= {'a', 'b'}
    x = learn.dls.valid.one_batch()[0]
    learn.dls.valid.show_batch()                                         # as the model sees them
    assert_close(torch.tensor(plt.gcf().axes[0].lines[0].get_ydata()), torch.Tensor(x)[0, 0])
    plt.close('all')

def test_a_model_trained_in_tsai_predicts_the_same_here(core, tmp_path):
    tfm = tsai('data.preprocessing').TSStandardize()
    learn = tsai_learner(core, tfm)
    with learn.no_bar(): probs, _ = learn.get_preds()
    learn.save(tmp_path/'theirs')                                        # weights and the state of the optimizer
    torch.save(learn.model.state_dict(), tmp_path/'weights.pth')
    dls = ours.TSDataLoaders.from_numpy(X, Y, SPLITS, batch_tfms=ours.TSStandardize(torch.Tensor(tfm.mean), torch.Tensor(tfm.std)))
    assert list(dls.vocab) == list(learn.dls.vocab)
    for load in (lambda l: l.load(tmp_path/'theirs'), lambda l: l.model.load_state_dict(torch.load(tmp_path/'weights.pth'))):
        mine = Learner(dls, ours.LSTMAttentionPlus(dls.vars, dls.c, dls.len, **SMALL))
        load(mine)
        with mine.no_bar(): got, _, _ = mine.get_X_preds(X[30:])
        np.testing.assert_allclose(got, probs, atol=1e-5)
