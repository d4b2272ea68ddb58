"The three models over their arguments."
import inspect
from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.common import LENGTHS, SMALL, each_model, series, stable_id
from tsai_rnnattn.layers.attention import attention_maps, record_attention
from tsai_rnnattn.layers.heads import flatten_head, mean_pool_head
from tsai_rnnattn.layers.recurrent import init_recurrent
from tsai_rnnattn.models import GRUAttentionPlus
from tsai_rnnattn.testing import assert_gradients

TWO_LAYERS = {**SMALL, 'encoder_layers': 2}

@each_model
@pytest.mark.parametrize('c_out,d,flatten,y_range', list(product((1, 2), (None, 4, 7, (3,4)), (True, False), (None, (-1, 2)))))
def test_output_shape_and_range(M, c_out, d, flatten, y_range):
    kw = dict(SMALL, d=d, flatten=flatten, y_range=y_range)
    if not flatten and d in (4, (3,4)):                                  # neither has 7 places, one per step
        with pytest.raises(ValueError, match='flatten=False'): M(3, c_out, 7, **kw)
        return
    model = M(3, c_out, 7, **kw)
    y = model(series()*10)
    places = [] if d is None else list(d) if isinstance(d, tuple) else [d]
    assert list(y.shape) == [5, *places, *([c_out] if c_out > 1 or d is None else [])]
    if y_range: assert -1 <= y.min() and y.max() <= 2
    assert_gradients(model, series())

@each_model
@pytest.mark.parametrize('d', (None, (3,4)))
def test_every_parameter_matters(M, d):
    model = M(3, 2, 7, d=d, rnn_layers=2, bidirectional=True, **TWO_LAYERS)
    (model(series()) * series(bs=1, c_in=1, sl=2).flatten()).square().sum().backward()
    for name,p in model.named_parameters(): assert p.grad.abs().max() > 0, name

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
@pytest.mark.parametrize('kw', [{}, dict(d=4), dict(flatten=False)], ids=str)
def test_one_series_of_one_step_trains(M, kw):
    model = M(3, 2, 1, **kw, **SMALL)
    model(series(bs=1, sl=1)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

@each_model
def test_recording_attention_changes_no_output(M):
    model = M(3, 2, 7, **TWO_LAYERS).eval()
    y = model(series())
    with record_attention(model) as weights: explicit = model(series())
    assert_close(explicit, y, atol=1e-5, rtol=0)
    assert [tuple(w.shape) for w in weights] == [(5, 2, 7, 7)] * 2
    for w in weights: assert_close(w.sum(-1), torch.ones(5, 2, 7))
    model(series())
    assert len(weights) == 2                                             # nothing is recorded after the block

@pytest.mark.parametrize('d_k,d_v', [(None, None), (5, 3), (3, 5)])
def test_autograd_keeps_no_steps_by_steps_tensor(d_k, d_v):
    "The memory that autograd keeps for the backward pass is linear in the number of steps"
    def largest_saved(sl):
        sizes, model = [], GRUAttentionPlus(3, 2, sl, d_k=d_k, d_v=d_v, encoder_dropout=0., **SMALL)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t): model(series(sl=sl))
        return max(sizes)
    assert largest_saved(400) <= 2.2 * largest_saved(200)

SIGNATURE = dict(d=None, hidden_size=128, rnn_layers=1, bias=True, rnn_dropout=0, bidirectional=False, encoder_layers=3, n_heads=16,
                 d_k=None, d_v=None, d_ff=256, encoder_dropout=0.1, act='gelu', fc_dropout=0., y_range=None, custom_head=None, use_bn=True,
                 flatten=True)

@each_model
def test_signature_is_that_of_tsais_documentation(M):
    params = inspect.signature(M).parameters
    assert [k for k,p in params.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == ['c_in', 'c_out', 'seq_len', *SIGNATURE]
    assert {k: params[k].default for k in SIGNATURE} == SIGNATURE
    not_in_tsai = {k: p.default for k,p in params.items() if p.kind is p.KEYWORD_ONLY}
    assert not_in_tsai == dict(causal=False, norm='batch', rnn_init=None)
    assert [n for n,_ in M(3, 2, 7, **SMALL).named_children()] == ['backbone', 'head']
    assert isinstance(M(3, 2, 7, **SMALL), nn.Sequential)

CHANGES = [dict(d=4), dict(hidden_size=16), dict(rnn_layers=2), dict(bias=False), dict(bidirectional=True), dict(encoder_layers=1),
           dict(n_heads=1), dict(d_k=5), dict(d_v=5), dict(d_ff=13), dict(act='relu'), dict(y_range=(0, 1)),
           dict(custom_head=lambda n, c, s: nn.Flatten()), dict(flatten=False), dict(encoder_dropout=0.5), dict(fc_dropout=0.5),
           dict(rnn_dropout=0.5, rnn_layers=2), dict(use_bn=False, d=4), dict(causal=True), dict(norm='layer'),
           dict(rnn_init=init_recurrent)]

@pytest.mark.parametrize('change', CHANGES, ids=stable_id)
def test_every_argument_changes_the_output(change):
    def train_output(**kw):
        torch.manual_seed(0)
        model = GRUAttentionPlus(3, 2, 7, **{**TWO_LAYERS, 'encoder_dropout': 0., **kw})
        scale = next(model.backbone.encoder.layers[-1].batchnorm_ffn.parameters())
        nn.init.uniform_(scale)                                          # with scale 1, the batch norm of the head would change nothing
        return model(series())
    same = {k: v for k,v in change.items() if k in ('rnn_layers', 'd') and len(change) > 1}      # the other argument needs it
    a, b = train_output(**same), train_output(**change)
    assert a.shape != b.shape or not torch.allclose(a, b)

BAD = [(dict(n_heads=0), 'n_heads=0'), (dict(n_heads=-1), 'n_heads=-1'), (dict(n_heads=2.), 'n_heads=2.0'),
       (dict(encoder_layers=0), 'encoder_layers=0'), (dict(encoder_layers=-1), 'encoder_layers=-1'),
       (dict(act='tahn'), "Did you mean 'tanh'"), (dict(y_range=(10, 0)), r'y_range=\(10, 0\)'), (dict(y_range=(1, 1)), 'low < high'),
       (dict(y_range=(float('nan'), 1)), 'finite'), (dict(y_range=(0, float('inf'))), 'finite'), (dict(y_range=()), r'y_range=\(\)'),
       (dict(y_range=5), 'y_range=5'),        (dict(d_ff=0), 'd_ff=0'), (dict(d_k=0), 'd_k=0'), (dict(d=0), 'd=0'),
       (dict(d=(3, -1)), 'd='), (dict(fc_dropout=1), 'fc_dropout=1'), (dict(encoder_dropout=-.1), 'encoder_dropout=-0.1'),
       (dict(hidden_size=0), 'hidden_size=0'), (dict(rnn_layers=0), 'rnn_layers=0'), (dict(n_heads=16), 'pass d_k and d_v')]

@each_model
@pytest.mark.parametrize('kw,says', BAD, ids=str)
def test_bad_settings_are_refused(M, kw, says):
    with pytest.raises(ValueError, match=says): M(3, 2, 7, **{**SMALL, **kw})

@each_model
@pytest.mark.parametrize('sizes,says', [((0,2,7), 'c_in=0'), ((3,0,7), 'c_out=0'), ((3,-2,7), 'c_out=-2'), ((3,2,0), 'seq_len=0'),
                                        ((3,2.,7), 'c_out=2.0')], ids=str)
def test_bad_sizes_are_refused(M, sizes, says):
    with pytest.raises(ValueError, match=says): M(*sizes, **SMALL)

@pytest.mark.parametrize('act,cls', [('relu', nn.ReLU), ('ReLU', nn.ReLU), ('GELU', nn.GELU), ('tanh', nn.Tanh), (nn.SiLU, nn.SiLU),
                                     (nn.PReLU(), nn.PReLU), ('leakyrelu', nn.LeakyReLU)], ids=str)
def test_activations_by_name_in_any_case_class_or_instance(act, cls):
    model = GRUAttentionPlus(3, 2, 7, act=act, **TWO_LAYERS)
    used = [m for m in model.modules() if type(m) is cls]
    assert used[:2] == [layer.ff[1] for layer in model.backbone.encoder.layers] and used[2] is model.head[0] and len(used) == 3
    assert act not in used                                               # an instance is copied
    feature = torch.linspace(-2, 2, 5)
    assert_close(used[0](feature), cls()(feature))

@pytest.mark.parametrize('shape,says', [((5,4,7), 'c_in=4'), ((5,3,8), 'seq_len=8'), ((5,7,3), r'x.transpose\(1, 2\)'),
                                        ((3,7), r'x\[None\]'), ((1,5,3,7), 'three axes')])
@each_model
def test_batches_that_do_not_fit_are_refused(M, shape, says):
    with pytest.raises(ValueError, match=says): M(3, 2, 7, **SMALL)(torch.randn(shape))

def test_a_misspelled_argument_raises_type_error():
    with pytest.raises(TypeError, match='hidden_sise'): GRUAttentionPlus(3, 2, 7, hidden_sise=8)

BAD_LENGTHS = [([7, 1, 6, 2, 7], TypeError, r'torch.tensor\(lengths\)'), (LENGTHS.int(), TypeError, r'lengths.long\(\)'),
               (torch.ones(5), TypeError, 'float32'),
               (torch.tensor([7, 1]), ValueError, r'\[5\]'), (torch.ones(5, 1).long(), ValueError, r'\[5, 1\]'),
               (torch.tensor([7, 0, 6, 2, 7]), ValueError, 'sample 1 is 0'), (torch.tensor([7, 1, 8, 2, 7]), ValueError, 'sample 2 is 8'),
               (torch.tensor([7, 1, -6, 2, 7]), ValueError, 'sample 2 is -6')]

@each_model
@pytest.mark.parametrize('lengths,error,says', BAD_LENGTHS, ids=lambda o: str(o)[:30])
def test_bad_lengths_are_refused(M, lengths, error, says):
    with pytest.raises(error, match=says): M(3, 2, 7, **SMALL)(series(), lengths)

@each_model
def test_other_dtypes_are_converted_or_refused(M):
    model, x = M(3, 2, 7, **SMALL).eval(), series()*10
    for other in (x.double(), x.half(), x.int(), x.long(), x > 0):
        y = model(other)
        assert y.dtype == torch.float32
        assert_close(y, model(other.float()))
    assert model.double()(x).dtype == torch.float64
    with pytest.raises(TypeError, match=r'pass torch.as_tensor\(x\)'): model(x.numpy())
    with pytest.raises(TypeError, match='must be real'): model(x*1j)

@each_model
def test_series_and_lengths_can_be_passed_as_a_pair(M):
    model, lengths = M(3, 2, 7, **SMALL).eval(), LENGTHS
    assert torch.equal(model((series(), lengths)), model(series(), lengths))

@each_model
def test_rnn_dropout_warns_for_a_single_layer(M):
    with pytest.warns(UserWarning, match='num_layers greater than 1'): M(3, 2, 7, rnn_dropout=0.5, **SMALL)

@each_model
def test_rnn_init_is_optional(M):
    def weights(**kw):
        torch.manual_seed(0)
        return M(3, 2, 7, **kw, **SMALL).backbone.rnn.weight_hh_l0.detach()[:8]
    assert_close(weights(rnn_init=init_recurrent) @ weights(rnn_init=init_recurrent).T, torch.eye(8), atol=1e-5, rtol=0)
    assert not torch.allclose(weights() @ weights().T, torch.eye(8), atol=0.1)
    assert weights().abs().max() <= 8**-0.5                              # torch's default

@each_model
def test_causal_and_bidirectional_are_mutually_exclusive(M):
    with pytest.raises(ValueError, match='choose one'): M(3, 2, 7, causal=True, bidirectional=True, **SMALL)

@each_model
@pytest.mark.parametrize('y_range', [[0, 1], torch.tensor([0., 1.])], ids=['list', 'tensor'])
def test_y_range_may_be_any_pair(M, y_range):
    for kw in ({}, dict(d=4), dict(custom_head=mean_pool_head)):
        y = M(3, 2, 7, y_range=y_range, **kw, **SMALL)(series()*100)
        assert 0 <= y.min() and y.max() <= 1

def test_flatten_head_refuses_another_number_of_steps():
    model = GRUAttentionPlus(3, 2, 7, custom_head=flatten_head, **SMALL)
    with pytest.raises(ValueError, match='seq_len=9.*mean_pool_head'): model(series(sl=9))

@each_model
def test_attention_maps(M):
    model, lengths = M(3, 2, 7, **TWO_LAYERS), LENGTHS
    maps = attention_maps(model, series(), lengths)
    assert maps.shape == (2, 5, 2, 7, 7)                                 # layers, series, heads, query steps, key steps
    assert_close(maps.sum(-1), torch.ones(2, 5, 2, 7))
    for i,n in enumerate(lengths): assert not maps[:, i, :, :, n:].any()
    alone = attention_maps(model, series()[2:3], lengths[2:3])
    assert_close(alone[:, 0, :, :6], maps[:, 2, :, :6], atol=1e-6, rtol=1e-5)
    y = model.eval()(series(), lengths)
    with record_attention(model): assert_close(model(series(), lengths), y, atol=1e-5, rtol=1e-4)
