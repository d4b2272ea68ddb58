"The three models over the grid of their settings."
import copy
import inspect
import pickle
from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tsai_rnnattn.layers.attention import record_attention
from tsai_rnnattn.models.rnn_attention import GRUAttentionPlus, LSTMAttentionPlus, RNNAttentionPlus

MODELS = (RNNAttentionPlus, LSTMAttentionPlus, GRUAttentionPlus)
SMALL = dict(hidden_size=8, n_heads=2, d_ff=11, encoder_layers=2)
each_model = pytest.mark.parametrize('M', MODELS, ids=lambda m: m.__name__)

def series(bs=5, c_in=3, sl=7, seed=0): return torch.randn(bs, c_in, sl, generator=torch.Generator().manual_seed(seed))

GRID = list(product((1, 2), (False, True), (1, 2), (None, 4, 7, (3,4)), (True, False), (None, (-1, 2))))

@each_model
@pytest.mark.parametrize('rnn_layers,bidirectional,c_out,d,flatten,y_range', GRID)
def test_shape_range_and_gradients(M, rnn_layers, bidirectional, c_out, d, flatten, y_range):
    kw = dict(SMALL, rnn_layers=rnn_layers, bidirectional=bidirectional, d=d, flatten=flatten, y_range=y_range)
    if not flatten and d in (4, (3,4)):                                  # neither has one place for each of the 7 steps
        with pytest.raises(ValueError, match='flatten=False'): M(3, c_out, 7, **kw)
        return
    y = M(3, c_out, 7, **kw)(series()*10)
    places = [] if d is None else list(d) if isinstance(d, tuple) else [d]
    assert list(y.shape) == [5, *places, *([c_out] if c_out > 1 or d is None else [])]
    if y_range: assert -1 <= y.min() and y.max() <= 2

@each_model
@pytest.mark.parametrize('rnn_layers,bidirectional,d', list(product((1, 2), (False, True), (None, (3,4)))))
def test_every_parameter_gets_a_finite_gradient(M, rnn_layers, bidirectional, d):
    model = M(3, 2, 7, d=d, rnn_layers=rnn_layers, bidirectional=bidirectional, **SMALL)
    (model(series()) * series(bs=1, c_in=1, sl=2).flatten()).square().sum().backward()
    for name,p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name

@each_model
def test_eval_is_deterministic_and_independent_of_the_batch(M):
    model = M(3, 2, 7, **SMALL).eval()
    x = series()
    y = model(x)
    assert torch.equal(y, model(x))
    for i in range(5): assert_close(model(x[i:i+1]), y[i:i+1], atol=1e-6, rtol=1e-5)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert_close(model(x[order]), y[order], atol=1e-6, rtol=1e-5)

@each_model
def test_a_batch_of_one_trains(M):
    M(3, 2, 7, **SMALL)(series(bs=1)).sum().backward()

@each_model
def test_same_seed_same_weights(M):
    def weights(seed):
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(M(3, 2, 7, **SMALL).parameters())
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))

@each_model
def test_pickle_deepcopy_and_state_dict(M):
    model = M(3, 2, 7, y_range=(0, 1), **SMALL).eval()
    y = model(series())
    other = M(3, 2, 7, y_range=(0, 1), **SMALL).eval()
    assert not torch.allclose(other(series()), y)
    other.load_state_dict(model.state_dict())
    for m in (other, copy.deepcopy(model), pickle.loads(pickle.dumps(model))): assert torch.equal(m(series()), y)

@each_model
def test_recorded_weights_are_those_of_the_fused_path(M):
    model = M(3, 2, 7, **SMALL).eval()
    y = model(series())
    with record_attention(model) as weights: explicit = model(series())
    assert_close(explicit, y, atol=1e-5, rtol=0)
    assert [tuple(w.shape) for w in weights] == [(5, 2, 7, 7)] * 2
    for w in weights: assert_close(w.sum(-1), torch.ones(5, 2, 7))
    model(series())
    assert len(weights) == 2                                             # nothing is recorded after the block

@pytest.mark.parametrize('d_k,d_v', [(None, None), (5, 3), (3, 5)])
def test_a_forward_pass_keeps_no_steps_by_steps_tensor(d_k, d_v):
    "What autograd saves for the backward pass grows with the steps, not with their square"
    def largest_saved(sl):
        sizes, model = [], GRUAttentionPlus(3, 2, sl, d_k=d_k, d_v=d_v, encoder_dropout=0., **SMALL)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t): model(series(sl=sl))
        return max(sizes)
    assert largest_saved(400) <= 2.2 * largest_saved(200)

SIGNATURE = dict(d=None, hidden_size=128, rnn_layers=1, bias=True, rnn_dropout=0, bidirectional=False, encoder_layers=3, n_heads=16, d_k=None,
                 d_v=None, d_ff=256, encoder_dropout=0.1, act='gelu', fc_dropout=0., y_range=None, custom_head=None, use_bn=True, flatten=True)

@each_model
def test_signature_is_that_of_the_documentation_page(M):
    params = inspect.signature(M).parameters
    assert [k for k,p in params.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == ['c_in', 'c_out', 'seq_len', *SIGNATURE]
    assert {k: params[k].default for k in SIGNATURE} == SIGNATURE
    assert {k: p.default for k,p in params.items() if p.kind is p.KEYWORD_ONLY} == dict(causal=False, rnn_init=None)  # ours, after tsai's
    assert [n for n,_ in M(3, 2, 7, **SMALL).named_children()] == ['backbone', 'head']
    assert isinstance(M(3, 2, 7, **SMALL), nn.Sequential)

CHANGES = [dict(d=4), dict(hidden_size=16), dict(rnn_layers=2), dict(bias=False), dict(bidirectional=True), dict(encoder_layers=1), dict(n_heads=1),
           dict(d_k=5), dict(d_v=5), dict(d_ff=13), dict(act='relu'), dict(y_range=(0, 1)), dict(custom_head=lambda n, c, s: nn.Flatten()),
           dict(flatten=False), dict(encoder_dropout=0.5), dict(fc_dropout=0.5), dict(rnn_dropout=0.5, rnn_layers=2), dict(use_bn=False, d=4)]

@pytest.mark.parametrize('change', CHANGES, ids=str)
def test_no_argument_is_decoration(change):
    def train_output(**kw):
        torch.manual_seed(0)
        return GRUAttentionPlus(3, 2, 7, **{**SMALL, 'encoder_dropout': 0., **kw})(series())
    same = {k: v for k,v in change.items() if k in ('rnn_layers', 'd') and len(change) > 1}      # what the other argument needs to count
    a, b = train_output(**same), train_output(**change)
    assert a.shape != b.shape or not torch.allclose(a, b)

BAD = [(dict(n_heads=0), 'n_heads=0'), (dict(n_heads=-1), 'n_heads=-1'), (dict(n_heads=2.), 'n_heads=2.0'), (dict(encoder_layers=0), 'encoder_layers=0'),
       (dict(encoder_layers=-1), 'encoder_layers=-1'), (dict(act='tahn'), "did you mean 'tanh'"), (dict(y_range=(10, 0)), r'y_range=\(10, 0\)'),
       (dict(y_range=(1, 1)), 'lower one first'), (dict(y_range=(float('nan'), 1)), 'finite'), (dict(y_range=(0, float('inf'))), 'finite'),
       (dict(y_range=()), r'y_range=\(\)'), (dict(y_range=5), 'y_range=5'), (dict(d_ff=0), 'd_ff=0'), (dict(d_k=0), 'd_k=0'), (dict(d=0), 'd=0'),
       (dict(d=(3, -1)), 'd='), (dict(fc_dropout=1), 'fc_dropout=1'), (dict(encoder_dropout=-.1), 'encoder_dropout=-0.1'),
       (dict(hidden_size=0), 'hidden_size=0'), (dict(rnn_layers=0), 'rnn_layers=0'), (dict(n_heads=16), 'give d_k and d_v')]

@each_model
@pytest.mark.parametrize('kw,says', BAD, ids=str)
def test_bad_settings_are_refused(M, kw, says):
    with pytest.raises(ValueError, match=says): M(3, 2, 7, **{**SMALL, **kw})

@pytest.mark.parametrize('shape,says', [((5,4,7), 'c_in=4'), ((5,3,8), 'seq_len=8'), ((5,7,3), r'x.transpose\(1, 2\)'), ((3,7), r'x\[None\]'), ((1,5,3,7), 'three axes')])
@each_model
def test_batches_that_do_not_fit_are_refused(M, shape, says):
    with pytest.raises(ValueError, match=says): M(3, 2, 7, **SMALL)(torch.randn(shape))

def test_names_of_a_typo_are_refused():
    with pytest.raises(TypeError, match='hidden_sise'): GRUAttentionPlus(3, 2, 7, hidden_sise=8)
