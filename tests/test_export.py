"Folders of models: they predict as the `Learner` does, load without it, and are refused when damaged."
import copy
import json
import os
import pickle
import random
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from fastai.basics import BaseLoss, BCEWithLogitsLossFlat, CrossEntropyLossFlat, L1LossFlat, Learner, LabelSmoothingCrossEntropyFlat
from torch import nn

import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
from tests.common import load_exported, quiet_fit
from tsai_rnnattn import export
from tsai_rnnattn.data.augment import TSMagScale
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.text import TextDataLoaders
from tsai_rnnattn.data.transforms import TSClip, TSImpute, TSNormalize, TSRobustScale, TSStandardize, TSTransform
from tsai_rnnattn.estimator import RNNAttentionClassifier
from tsai_rnnattn.export import as_predictor, load_model, predictor_config, save_model
from tsai_rnnattn.layers.heads import attention_pool_head, flatten_head, mean_pool_head, pool_head
from tsai_rnnattn.layers.norm import StepLayerNorm
from tsai_rnnattn.layers.pooling import HardAttentionPool, LastState, LocalAttentionPool, MeanPool
from tsai_rnnattn.layers.recurrent import init_recurrent
from tsai_rnnattn.models import (AttentiveRNN, AttentiveRNNPlus, BasicRNN, GRUAttentionPlus, GRUPlus, LSTMAttentionPlus, LSTMPlus,
                                 RNNAttentionPlus, RNNClassifier, RNNPlus, build_arch, build_config, get_arch, model_config, zoo_models)
from tsai_rnnattn.testing import random_headlines

N, C, SL = 29, 3, 11
X = np.random.default_rng(0).normal(3, 5, (N, C, SL)).astype(np.float32)
GAPS = np.where(np.random.default_rng(1).random(X.shape) < .2, np.nan, X)
Y = np.arange(N) % 4
LENGTHS = np.random.default_rng(2).integers(1, SL + 1, N)
RAGGED = [x[:, :n] for x,n in zip(X, LENGTHS)]
TEXTS, TOPICS = random_headlines(60)
ATTENTION = dict(hidden_size=8, n_heads=2, d_ff=7, encoder_layers=1)
FILES = {'model.safetensors', 'config.json'}

def loaders(X=X, y=Y, **kw): return TSDataLoaders.from_numpy(X, y, **{**dict(bs=7, seed=0, batch_tfms=[TSImpute(), TSStandardize()]), **kw})
def text_loaders(y=TOPICS, **kw): return TextDataLoaders.from_lists(TEXTS, y, **{**dict(bs=13, seed=0), **kw})
def names(folder): return {o.name for o in folder.iterdir()}

def assert_same(learn, model, X, atol=1e-5, **kw):
    "The model predicts what the `Learner` does, in values, shapes and dtypes"
    with learn.no_bar(): probs, _, decoded = learn.get_X_preds(X, **kw)
    got = model.predict(X, **kw)
    assert got.dtype == decoded.dtype and got.shape == decoded.shape
    if model.labels is None: np.testing.assert_allclose(got, decoded, rtol=1e-5, atol=atol)
    else:
        np.testing.assert_allclose(model.predict_proba(X, **kw), probs, rtol=1e-5, atol=atol)
        assert (got == decoded).all()

def roundtrip(learn, tmp_path, X, **kw):
    model = load_model(save_model(learn, tmp_path/'model'))
    assert names(tmp_path) == {'model'}
    assert_same(learn, model, X, **kw)
    return model

def trained(dls, model, **kw): return quiet_fit(Learner(dls, model, **kw))

# every model, in the forms that a configuration can take

ATT = [(M, kw) for M in (RNNAttentionPlus, LSTMAttentionPlus, GRUAttentionPlus) for kw in ({}, dict(bidirectional=True))]
SERIES = [
    *[(M, {**ATTENTION, **kw}) for M,kw in ATT],
    (GRUAttentionPlus, dict(ATTENTION, causal=True, norm='layer', custom_head=mean_pool_head)),
    (GRUAttentionPlus, dict(ATTENTION, norm=StepLayerNorm, act=nn.ReLU,
                            custom_head=partial(pool_head, LocalAttentionPool, fc_dropout=.1))),
    (LSTMAttentionPlus, dict(ATTENTION, act=torch.tanh, rnn_init=init_recurrent, custom_head=attention_pool_head, fc_dropout=.2)),
    (RNNAttentionPlus, dict(ATTENTION, act=nn.LeakyReLU(), flatten=False, d_k=3, d_v=5, bias=False)),
    *[(M, dict(hidden_size=8, **kw)) for M in (RNNPlus, LSTMPlus, GRUPlus) for kw in ({}, dict(bidirectional=True, n_layers=2))],
    (GRUPlus, dict(hidden_size=[7, 5], rnn_dropout=.1, custom_head=partial(pool_head, MeanPool()))),
    (LSTMPlus, dict(hidden_size=8, last_step=False, init_weights=False)),
    (GRUPlus, dict(hidden_size=8, bidirectional=True, custom_head=partial(pool_head, LastState(), use_bn=False))),
    (GRUPlus, dict(hidden_size=8, custom_head=flatten_head)),
    (LSTMPlus, dict(hidden_size=8, custom_head=partial(pool_head, partial(HardAttentionPool, tau=.5)))),
    (AttentiveRNNPlus, dict(hidden_size=8)),
    (AttentiveRNNPlus, dict(hidden_size=8, rnn_type='gru', bidirectional=True, attn_concatenate=False)),
]
TOKENS = [
    (RNNClassifier, dict(embed_dim=5, hidden_size=8)),
    (RNNClassifier, dict(embed_dim=5, hidden_size=8, bidirectional=True, rnn_type=nn.GRU, custom_head=attention_pool_head)),
    (RNNClassifier, dict(embed_dim=5, hidden_size=8, rnn_type=partial(nn.LSTM, proj_size=3), token_dropout=.1)),
    (RNNClassifier, dict(embed_matrix=np.random.default_rng(0).normal(size=(200, 6)), embed_trainable=False, hidden_size=8)),
    *[(M, dict(embed_dim=5, hidden_dim=8, n_layers=1, padding_idx=0, **kw)) for M in (AttentiveRNN, BasicRNN)
      for kw in ({}, dict(bidirectional=True, head_hidden_dims=[9, 4], head_activation='gelu', head_dropout=.1))],
]
def ident(case): return case[0].__name__ + ''.join(f'-{k}' for k in case[1] if k not in ATTENTION)

def test_all_models_are_here(): assert {M.__name__ for M,_ in SERIES + TOKENS} == set(zoo_models)

@pytest.mark.parametrize('case', SERIES, ids=ident)
def test_models_of_series(case, tmp_path):
    M, kw = case
    dls = loaders()
    model = roundtrip(trained(dls, M(dls.vars, dls.c, dls.len, **kw)), tmp_path, GAPS)
    assert isinstance(model.model, M) and not model.training and model.c_in == C

@pytest.mark.parametrize('case', SERIES, ids=ident)
def test_models_of_series_with_lengths(case, tmp_path):
    M, kw = case
    dls = loaders(RAGGED)
    model = roundtrip(trained(dls, M(dls.vars, dls.c, dls.len, **kw)), tmp_path, RAGGED)
    learn = Learner(dls, model.model)
    assert_same(learn, model, GAPS, lengths=LENGTHS)
    assert_same(learn, model, RAGGED[:1])                        # padded to the steps of the model, if it requires a number

@pytest.mark.parametrize('case', TOKENS, ids=ident)
def test_models_of_tokens(case, tmp_path):
    M, kw = case
    dls = text_loaders()
    kw = {**kw, **(dict(embed_matrix=kw['embed_matrix'][:dls.vocab_size]) if 'embed_matrix' in kw else {})}
    net = build_arch(get_arch(M.__name__), dls.vocab_size, dls.c, **kw)
    model = roundtrip(trained(dls, net), tmp_path, [*TEXTS, '', 'never seen'])
    assert names(tmp_path/'model') == {*FILES, 'tokenizer.json'}
    with pytest.raises(ValueError, match='lengths: texts have their own'): model.predict(TEXTS, [1]*60)

def test_any_number_of_steps():
    dls = loaders()
    model = as_predictor(Learner(dls, GRUPlus(C, 4, custom_head=mean_pool_head)))
    assert model.seq_len is None and model.predict(X[..., :5]).shape == (N,)
    with pytest.raises(ValueError, match='sl=all equal'): model.predict(RAGGED)
    ragged = as_predictor(Learner(loaders(RAGGED), GRUPlus(C, 4, custom_head=mean_pool_head)))
    longer = np.concatenate([X, X], 2)
    assert ragged.predict(longer).shape == (N,)
    np.testing.assert_allclose(ragged.predict_proba(RAGGED, bs=1), ragged.predict_proba(RAGGED, bs=5), rtol=1e-5, atol=1e-6)

# transforms and targets

TFMS = [[], [TSStandardize(by_sample=True)], [TSImpute(indicator=True), TSStandardize(by_var=[0, 2])],
        [TSNormalize(range=(0, 2)), TSClip(-np.inf, 1)], [TSImpute('mean'), TSRobustScale(by_var=False), TSClip()],
        [TSStandardize(1, [1, 2, 3]), TSMagScale(.5)],
        [TSRobustScale(by_sample=True)], [TSNormalize(by_sample=True, by_var=False)]]

@pytest.mark.parametrize('tfms', TFMS, ids=lambda o: '-'.join(t.name for t in o) or 'none')
@pytest.mark.parametrize('data', (X, RAGGED, X + 1e6), ids=('equal', 'ragged', 'far from zero'))
def test_transforms(tfms, data, tmp_path):
    dls = loaders(data, batch_tfms=tfms)
    fills = any(isinstance(o, TSImpute) for o in tfms)
    new = [np.where(np.isnan(g[:, :x.shape[1]]), g[:, :x.shape[1]], x) for g,x in zip(GAPS, data)] if fills else data
    model = roundtrip(trained(dls, GRUPlus(dls.vars, dls.c, hidden_size=7, custom_head=mean_pool_head)), tmp_path, new)
    assert 'Mag' not in json.dumps(predictor_config(model))      # an augmentation

def test_series_in_double_precision():
    "Seconds since 1970, which float32 cannot tell apart"
    seconds = 1.7e9 + X.astype(float)
    learn = trained(loaders(seconds), GRUPlus(C, 4, hidden_size=7))
    assert_same(learn, as_predictor(learn), seconds)
    assert_same(learn, as_predictor(learn), np.round(seconds).astype(np.int64))

SETS = np.random.default_rng(0).random((N, 5)) < .4
NUMBERS = np.random.default_rng(3).normal(1000, 30, (N, 2, 5))
TARGETS = {
    'integers': (Y*3, {}), 'booleans': (Y > 1, {}), 'strings': (np.array(['ä', 'ö', '"', 'c\n'])[Y], {}),
    'balanced': (Y, dict(class_weight='balanced')),
    'label per place': (np.stack([Y, Y[::-1]], 1), {}), 'sets': (SETS, {}), 'number': (NUMBERS[:, 0, 0].astype(np.float32), {}),
    'numbers': (NUMBERS[:, 0], {}), 'array of numbers': (NUMBERS, {}), 'standardized': (NUMBERS[:, 0, 0], dict(standardize_y=True)),
    'standardized float32': (NUMBERS[:, 0].astype(np.float32), dict(standardize_y=True)),
    'standardized array': (NUMBERS, dict(standardize_y=True)),
}

@pytest.mark.parametrize('name', TARGETS)
def test_targets(name, tmp_path):
    y, kw = TARGETS[name]
    dls = loaders(y=y, **kw)
    learn = trained(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, d=dls.d, **ATTENTION))
    model = roundtrip(learn, tmp_path, X, atol=1e-3 * (y.dtype.kind == 'f'))
    assert model.labels == (None if y.dtype.kind == 'f' else list(dls.vocab))
    assert [type(o) for o in model.labels or ()] == [type(o) for o in dls.vocab or ()]
    if model.labels is None:
        with pytest.raises(ValueError, match='requires labels, but this model predicts numbers'): model.predict_proba(X)

def test_y_range_in_units(tmp_path):
    dls = loaders(y=NUMBERS[:, 0, 0], standardize_y=True)
    learn = Learner(dls, GRUPlus(C, 1, y_range=dls.y_range(990, 1010)))
    got = roundtrip(learn, tmp_path, X, atol=1e-3).predict(X)
    assert got.min() >= 990 and got.max() <= 1010

@pytest.mark.parametrize('loss', (LabelSmoothingCrossEntropyFlat(), CrossEntropyLossFlat(weight=torch.ones(4))), ids=str)
def test_losses_that_decode_alike(loss, tmp_path): roundtrip(Learner(loaders(), GRUPlus(C, 4), loss_func=loss), tmp_path, X)

def test_losses_that_do_not(tmp_path):
    class Hardest(CrossEntropyLossFlat):
        def decodes(self, x): return x.argmin(-1)
    learn = Learner(loaders(), GRUPlus(C, 4), loss_func=Hardest())
    with pytest.raises(ValueError, match='makes other predictions than Labels'): save_model(learn, tmp_path/'a')
    sets = Learner(loaders(y=SETS), GRUPlus(C, 5), loss_func=BCEWithLogitsLossFlat(thresh=.3))
    with pytest.raises(ValueError, match='makes other predictions than LabelSets'): save_model(sets, tmp_path/'a')
    for loss in (nn.CrossEntropyLoss(), lambda y, t: y.sum()):
        with pytest.raises((ValueError, TypeError), match='pass fastai.s loss_func=CrossEntropyLossFlat'):
            save_model(Learner(loaders(), GRUPlus(C, 4), loss_func=loss), tmp_path/'a')
    assert not list(tmp_path.iterdir())
    numbers = loaders(y=NUMBERS[:, 0])
    roundtrip(Learner(numbers, GRUPlus(C, 5), loss_func=L1LossFlat()), tmp_path, X)
    class Log(BaseLoss):
        def decodes(self, x): return x.exp()
    with pytest.raises(ValueError, match='makes other predictions than Numbers'):
        as_predictor(Learner(numbers, GRUPlus(C, 5), loss_func=Log(nn.MSELoss)))

# from where

def test_learners_of_all_kinds(tmp_path):
    "Exported, compiled, in another mode, with callbacks"
    learn = trained(loaders(), GRUAttentionPlus(C, 4, SL, **ATTENTION))
    learn.export(tmp_path/'learner.pkl')
    learn.model.train()
    assert_same(learn, as_predictor(learn), X)
    again = load_exported(tmp_path/'learner.pkl')
    assert_same(learn, load_model(save_model(again, tmp_path/'a')), X)
    compiled = Learner(learn.dls, torch.compile(learn.model, backend='eager'))
    assert_same(learn, load_model(save_model(compiled, tmp_path/'a')), X)
    assert names(tmp_path) == {'learner.pkl', 'a'}

def test_a_predictor_shares_the_model_and_keeps_its_mode():
    learn = trained(loaders(), GRUAttentionPlus(C, 4, SL, **ATTENTION))
    learn.model.train()
    model = as_predictor(learn)
    model.predict(X)
    assert model.model is learn.model and learn.model.training and as_predictor(model) is model

def test_models_alone(tmp_path):
    net = GRUPlus(C, 4, hidden_size=7).double().eval()
    model = load_model(save_model(net, tmp_path/'a'))
    x = torch.tensor(X)
    with torch.no_grad(): torch.testing.assert_close(model.model(x), net(x), rtol=0, atol=0)
    np.testing.assert_array_equal(model.predict(X), net(x).detach())
    assert model.labels is None and next(model.parameters()).dtype == torch.float64
    tokens = load_model(save_model(RNNClassifier(13, 4), tmp_path/'b')).model
    assert tokens(torch.ones(2, 5, dtype=torch.int64)).shape == (2, 4)

def test_states_are_not_carried_from_call_to_call(tmp_path):
    model = load_model(save_model(Learner(loaders(), GRUPlus(C, 4, stateful=True)), tmp_path/'a'))
    np.testing.assert_array_equal(model.predict_proba(X[:5]), model.predict_proba(X[:5]))

def test_estimators(tmp_path):
    clf = RNNAttentionClassifier('GRUPlus', dict(hidden_size=7), n_epochs=2, random_state=0).fit(X, np.array(list('abcd'))[Y])
    model = load_model(save_model(clf.learner_, tmp_path/'a'))
    np.testing.assert_allclose(model.predict_proba(GAPS), clf.predict_proba(GAPS), rtol=1e-5)
    assert (model.predict(GAPS) == clf.predict(GAPS)).all()

class Own(nn.Module):
    "A model of somebody's own, with two names for one tensor"
    def __init__(self, c_in=C, c_out=4):
        super().__init__()
        self.layer = nn.Linear(c_in, c_out)
        self.same = self.layer
    def forward(self, x, lengths=None): return self.layer(x.mean(2))

def test_models_of_other_classes_are_made_by_whoever_loads_them(tmp_path):
    learn = trained(loaders(), Own())
    folder = save_model(learn, tmp_path/'a')
    assert_same(learn, load_model(folder, model=Own()), X)
    with pytest.raises(ValueError, match=r'test_export.Own, which is not of the zoo: make it as in training'): load_model(folder)
    with pytest.raises(ValueError, match='size mismatch'): load_model(folder, model=Own(c_out=5))
    with pytest.raises(ValueError, match='a GRUPlus of the zoo: leave out model'):
        load_model(save_model(Learner(loaders(), GRUPlus(C, 4)), tmp_path/'b'), model=GRUPlus(C, 4))

def refused(model, says, tmp_path):
    with pytest.raises(ValueError, match=says): save_model(model, tmp_path/'a')
    assert not list(tmp_path.iterdir())

def test_what_cannot_be_saved(tmp_path):
    refused(GRUPlus(C, 4, custom_head=lambda d, c, sl: mean_pool_head(d, c)), 'custom_head=.*lambda.*only if it is a part', tmp_path)
    refused(GRUPlus(C, 4, custom_head=nn.Sequential(MeanPool(), nn.Linear(100, 4))), 'custom_head=Sequential', tmp_path)
    refused(GRUAttentionPlus(C, 4, SL, act=nn.LeakyReLU(.3)), r'act=LeakyReLU\(negative_slope=0.3\)', tmp_path)
    changed = GRUPlus(C, 4)
    changed.head = nn.Sequential(changed.head, nn.Tanh())
    refused(changed, 'was changed after it was made', tmp_path)
    class Detrend(TSTransform):
        def encode(self, x, lengths): return x - x.mean(2, keepdim=True)
    class TSClip(globals()['TSClip']):
        "The name of a transform of the library"
        def encode(self, x, lengths): return -x
    for T in Detrend, TSClip:
        refused(Learner(loaders(batch_tfms=[T()]), GRUPlus(C, 4)), f'the transform {T.__name__} cannot be saved', tmp_path)
    for bad in (None, 7, TSStandardize()):
        with pytest.raises(TypeError, match='expected a Learner, a model, or a folder'): save_model(bad, tmp_path/'a')
    plain = Learner(loaders(), GRUPlus(C, 4))
    plain.dls.loaders[1].dataset = [1, 2]
    with pytest.raises(TypeError, match='data of class list'): save_model(plain, tmp_path/'a')

def test_models_pickled_before_they_kept_arguments(tmp_path):
    old = GRUPlus(C, 4)
    old.__dict__['arguments_kept'] = [], {}
    refused(old, 'does not know its arguments', tmp_path)

def test_arguments_are_kept_small_and_pickled():
    vectors = np.ones((10_000, 50))
    model = RNNClassifier(10_000, 4, embed_matrix=vectors, custom_head=lambda d, c, sl: mean_pool_head(d, c))
    assert len(pickle.dumps(model.arguments_kept)) < 1000
    assert model_config(build_config(model_config(RNNClassifier(7, 4, embed_matrix=np.ones((7, 5)))))) \
        == model_config(RNNClassifier(7, 4, embed_dim=5))
    model = GRUPlus(C, 4)
    for o in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))): assert model_config(o) == model_config(model)

def test_building_draws_no_random_numbers():
    config, state = model_config(GRUAttentionPlus(C, 4, SL)), torch.get_rng_state()
    with torch.device('meta'): build_config(config)
    assert torch.equal(state, torch.get_rng_state())

# predictions

@pytest.fixture(scope='module')
def motions(tmp_path_factory):
    "A learner and its folder"
    learn = trained(loaders(), GRUAttentionPlus(C, 4, SL, **ATTENTION))
    return learn, save_model(learn, tmp_path_factory.mktemp('export')/'motions')

BAD = {'variables': (X[:, :2], r'\[n, c_in=3, sl=11\] as in training, got \[29, 2, 11\]'), 'steps': (X[..., :5], r'got \[29, 3, 5\]'),
       'ragged': (RAGGED, 'with 1 to 11 steps'), 'axes': (X[0], 'for a single series, X'),
       'infinite': (np.where(X == X[4, 1, 2], np.inf, X), 'sample 4 has inf in variable 1, step 2'), 'empty': (X[:0], 'is empty')}

@pytest.mark.parametrize('name', BAD)
def test_series_that_do_not_fit(name, motions):
    model, (bad, says) = load_model(motions[1]), BAD[name]
    with pytest.raises(ValueError, match=says): model.predict(bad)
    with pytest.raises(ValueError, match='bs=0'): model.predict(X, bs=0)

def test_series_of_many_kinds(motions):
    model = load_model(motions[1])
    want = model.predict_proba(X)
    for o in (list(X), torch.tensor(X), np.ma.masked_array(X, False), X.tolist(), X[:, :, ::-1][:, :, ::-1]):
        np.testing.assert_allclose(model.predict_proba(o), want, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(np.ma.masked_array(X, np.isnan(GAPS))), model.predict_proba(GAPS), atol=1e-6)

def test_forward_is_what_programs_export(motions):
    model = load_model(motions[1])
    with torch.no_grad(): np.testing.assert_allclose(model(torch.tensor(X)), model.predict_proba(X), atol=1e-6)

LOADS = '''
import json, sys, torch, safetensors.torch, numpy as np
before = set(sys.modules)
from tsai_rnnattn.export import load_model
model = load_model({folder!r})
print(json.dumps([sorted({{m.split('.')[0] for m in set(sys.modules) - before}} - set(sys.stdlib_module_names)),
                  model.predict(np.load({x!r})).tolist(), model.predict_proba(np.load({x!r})).tolist()]))
'''

def test_loading_needs_torch_and_safetensors_alone(motions, tmp_path):
    learn, folder = motions
    np.save(tmp_path/'x.npy', GAPS)
    code = LOADS.format(folder=str(folder), x=str(tmp_path/'x.npy'))
    out = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    modules, labels, probs = json.loads(out.stdout)
    assert set(modules) <= {'torch', 'tsai_rnnattn'} and not out.stderr
    with learn.no_bar(): want, _, decoded = learn.get_X_preds(GAPS)
    assert labels == decoded.tolist()
    np.testing.assert_allclose(probs, want, atol=1e-5)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu(motions):
    model = load_model(motions[1], device='cuda')
    assert next(model.parameters()).is_cuda
    np.testing.assert_allclose(model.predict_proba(GAPS), load_model(motions[1]).predict_proba(GAPS), atol=1e-4)

# files

def test_a_folder_holds_no_pickle(motions):
    for file in motions[1].iterdir(): assert b'pickle' not in file.read_bytes()
    config = json.loads((motions[1]/'config.json').read_text())
    assert (config['format'], config['model']['name'], config['outputs']['labels']) == (1, 'GRUAttentionPlus', [0, 1, 2, 3])
    assert config['transforms'][1]['name'] == 'Standardize' and len(config['transforms'][1]['mean']) == C

def test_a_folder_is_replaced_as_a_whole(motions, tmp_path):
    folder = save_model(motions[0], tmp_path/'a')
    other = Learner(text_loaders(), RNNClassifier(100, 3))
    assert save_model(other, folder) == folder and names(folder) == {*FILES, 'tokenizer.json'} and names(tmp_path) == {'a'}
    assert save_model(motions[0], folder) == folder and names(folder) == FILES
    (tmp_path/'empty').mkdir()
    for o in ('empty', 'new/er'): assert names(save_model(motions[0], tmp_path/o)) == FILES

@pytest.mark.parametrize('fail', ('write', 'first rename', 'second rename', 'interrupt'))
def test_a_failure_leaves_the_folder_as_it_was(fail, motions, tmp_path, monkeypatch):
    folder = save_model(motions[0], tmp_path/'a')
    before = {o.name: o.read_bytes() for o in folder.iterdir()}
    rename, calls = os.rename, []
    def failing(a, b):
        calls.append((a, b))
        if len(calls) == {'first rename': 1, 'second rename': 2, 'interrupt': 2}.get(fail):
            raise KeyboardInterrupt if fail == 'interrupt' else OSError('disk full')
        rename(a, b)
    monkeypatch.setattr(os, 'rename', failing)
    if fail == 'write': monkeypatch.setattr(export, 'write_whole', lambda *args: 1/0)
    with pytest.raises((OSError, ZeroDivisionError, KeyboardInterrupt)): save_model(GRUPlus(C, 4), folder)
    assert names(tmp_path) == {'a'} and {o.name: o.read_bytes() for o in folder.iterdir()} == before

def test_folders_with_other_files_are_refused(motions, tmp_path):
    (tmp_path/'thesis.tex').write_text('x')
    with pytest.raises(ValueError, match='has other files, such as thesis.tex'): save_model(motions[0], tmp_path)
    with pytest.raises(ValueError, match='is a file'): save_model(motions[0], tmp_path/'thesis.tex')
    assert names(tmp_path) == {'thesis.tex'}

def test_safetensors_and_tokenizers_are_named_if_missing(motions, tmp_path, monkeypatch):
    folder = save_model(Learner(text_loaders(), RNNClassifier(100, 3)), tmp_path/'a')
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    with pytest.raises(ImportError, match=re.escape("pip install 'tsai_rnnattn[text]'")): load_model(folder)
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(ImportError, match='pip install safetensors'): load_model(folder)
    with pytest.raises(ImportError, match='pip install safetensors'): save_model(motions[0], tmp_path/'b')

# damage and malice

def sign(config): return {**config, 'sha256': export._digest_of(config)}
def change_config(folder, change):
    config = json.loads((folder/'config.json').read_text())
    config.pop('sha256')
    change(config)
    (folder/'config.json').write_text(json.dumps(sign(config)))

def args(**kw): return lambda o: o['model']['arguments'].update(kw)
MALICE = {
    'a class of another library': (lambda o: o['model'].update(name='os.system'), "model 'os.system' is unknown"),
    'a function as head': (args(custom_head=dict(name='eval', args=['1'], kwargs={})), "part 'eval' is unknown"),
    'an own class': (lambda o: o.update(model=dict(own='os.system')), 'weights of os.system, which is not of the zoo'),
    'a transform': (lambda o: o['transforms'].append(dict(name='open', file='/etc/passwd')), "'open' is unknown"),
    'outputs': (lambda o: o['outputs'].update(name='exec'), "'exec' is unknown"),
    'a path': (lambda o: o['files'].update({'../../secret': None}), "lists the files .*secret"),
    'another path': (lambda o: o.update(files={'/etc/passwd': None}), "lists the files .*passwd"),
    'more layers than weights': (args(encoder_layers=10**9), 'encoder_layers=1000000000, but there are'),
    'many layers in a part': (args(custom_head=dict(name='pool_head', args=[], kwargs=dict(num_layers=10**9))), 'num_layers=1000000000'),
    'a long list': (args(hidden_size=[1]*10**5), 'a list of 100000 values'),
    'a huge size': (args(hidden_size=2**62), 'do not make a model'), 'a larger size': (args(hidden_size=10**40), 'do not make a model'),
    'other sizes': (args(hidden_size=16), 'size mismatch'), 'other layers': (args(encoder_layers=2), 'Missing key'),
    'a bad argument': (args(n_heads='two'), 'do not make a model'), 'an unknown argument': (args(depth=3), 'do not make a model'),
    'a newer format': (lambda o: o.update(format=2), 'has format 2, but tsai_rnnattn .* reads format 1'),
    'no format': (lambda o: o.pop('format'), 'names no format'), 'a missing part': (lambda o: o.pop('outputs'), "'outputs' is missing"),
    'an unknown part': (lambda o: o.update(code='1'), "'code' is missing, unknown"),
    'a wrong type': (lambda o: o.update(model=[]), "'model' is missing"),
    'labels': (lambda o: o['outputs']['labels'].append(4), 'Labels do not fit'),
    'no labels': (lambda o: o['outputs'].pop('labels'), 'labels'),
    'variables': (lambda o: o['inputs'].update(c_in=5), 'do not fit'),
    'many variables': (lambda o: o['inputs'].update(c_in=10**15), 'do not fit'),
    'lengths': (lambda o: o['inputs'].update(lengths='yes'), 'inputs'),
    'text': (lambda o: o['inputs'].update(texts=True), 'lists the files'),
    'statistics': (lambda o: o['transforms'][1].update(mean=[1, 2]), 'are of 2 variables'),
    'statistics as text': (lambda o: o['transforms'][1].update(mean='zero'), 'do not make a model'),
    'a transform that is a string': (lambda o: o['transforms'].append('Clip'), "'Clip' as a transform"),
}

@pytest.mark.parametrize('name', MALICE)
def test_a_config_with_a_right_checksum_that_does_not_fit(name, motions, tmp_path):
    folder = save_model(motions[0], tmp_path/'a')
    change, says = MALICE[name]
    change_config(folder, change)
    with pytest.raises(ValueError, match=says) as e: load_model(folder)
    assert 'config.json' in str(e.value)

CONFIGS = (b'', b'[]', b'null', b'{"format": 1}', b'\xff', b'{' * 10**5, b'[' * 10**5, b'{"format": NaN}', b'{"format": 1, "a": "\\ud800"}',
           b'9' * 10**4)

@pytest.mark.parametrize('text', CONFIGS, ids=lambda o: repr(o[:20]))
def test_configs_that_are_none(text, motions, tmp_path):
    folder = save_model(motions[0], tmp_path/'a')
    (folder/'config.json').write_bytes(text)
    with pytest.raises(ValueError, match='config.json'): load_model(folder)

def test_missing_files(motions, tmp_path):
    for name in FILES:
        folder = save_model(motions[0], tmp_path/'a')
        (folder/name).unlink()
        with pytest.raises(FileNotFoundError, match=f'{name} is missing'): load_model(folder)
    with pytest.raises(FileNotFoundError, match='config.json is missing: expected a folder written by save_model'): load_model(tmp_path/'b')

class Bomb:
    def __reduce__(self): return os.system, ('touch bomb',)

def test_pickles_are_not_read(motions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_model(motions[0], tmp_path/'a')
    for name in FILES:
        (folder/name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match=f'{name}'): load_model(folder)
        save_model(motions[0], folder)
    torch.save(Bomb(), folder/'model.safetensors')
    weights = (folder/'model.safetensors').read_bytes()
    change_config(folder, lambda o: o['files'].update({'model.safetensors': export._digest(weights)}))
    with pytest.raises(ValueError, match='model.safetensors is damaged'): load_model(folder)
    assert not (tmp_path/'bomb').exists()

def flip(rng, data):
    i = rng.randrange(len(data))
    return data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1:]
def cut(rng, data): return data[:rng.randrange(len(data))]
def insert(rng, data): i = rng.randrange(len(data)); return data[:i] + rng.randbytes(rng.randrange(1, 9)) + data[i:]
def swap(rng, data): i, j = sorted(rng.sample(range(len(data)), 2)); return data[:i] + data[j:] + data[i:j]

def paths(o, at=()):
    "The place of each value in nested dicts and lists"
    items = o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ()
    for k,v in items: yield from ((*at, k), *paths(v, (*at, k)))

def edit(rng, config):
    "`config` with one value removed, or replaced by something else"
    *at, last = rng.choice([*paths(config)])
    inner = config
    for k in at: inner = inner[k]
    if rng.random() < .4: del inner[last]
    else: inner[last] = rng.choice(STRANGE)

STRANGE = [None, -1, 0, 2, 10**12, .5, True, 'x', '../../x', '/etc/passwd', 'os.system', [], {}, [1], dict(name='eval')]
CORRUPTIONS = 240

@pytest.mark.parametrize('kind', ('series', 'texts'))
def test_corrupted_folders(kind, tmp_path):
    "Each ends in an error that names a file, or in equal predictions, unless somebody has set the checksum to match"
    if kind == 'series': learn, data = trained(loaders(), GRUAttentionPlus(C, 4, SL, custom_head=mean_pool_head, **ATTENTION)), GAPS
    else: learn, data = trained(text_loaders(), RNNClassifier(100, 3, embed_dim=5, hidden_size=6)), TEXTS
    folder, rng, counts = save_model(learn, tmp_path/'a'), random.Random(0), dict(error=0, equal=0)
    files, want = {o.name: o.read_bytes() for o in folder.iterdir()}, load_model(folder).predict_proba(data)
    for k in range(CORRUPTIONS):
        for name,content in files.items(): (folder/name).write_bytes(content)
        if k % 4:
            name = rng.choice([*files])
            (folder/name).write_bytes(rng.choice((flip, cut, insert, swap))(rng, files[name]))
        elif k % 8: change_config(folder, lambda o: edit(rng, o))        # with a right checksum: what still loads may have other settings
        else:
            config = json.loads(files['config.json'])
            edit(rng, config)
            (folder/'config.json').write_text(json.dumps(config))
        try: got = load_model(folder).predict_proba(data)
        except (ValueError, FileNotFoundError) as e:
            assert re.search('config.json|model.safetensors|tokenizer.json|sample|requires labels', str(e)), e
            counts['error'] += 1
        else:
            assert got.shape == want.shape
            if k % 8 != 4: np.testing.assert_array_equal(got, want)
            counts['equal'] += 1
    assert counts['error'] > .8 * CORRUPTIONS
