"Runs the contract in tsai_rnnattn.testing on every layer and model."
import shutil
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.common import LENGTHS, MODELS, SMALL, each_model, series
from tsai_rnnattn.layers.attention import MultiHeadAttention
from tsai_rnnattn.layers.encoder import TSTEncoder, TSTEncoderLayer
from tsai_rnnattn.layers.heads import (FlattenSteps, attention_pool_head, flatten_head, last_step_head, lin_nd_head, max_pool_head,
                                       mean_pool_head, step_head)
from tsai_rnnattn.layers.norm import StepBatchNorm
from tsai_rnnattn.layers.pooling import (AdditiveAttentionPool, AttentionPool, HardAttentionPool, LastState, LastStep, LocalAttentionPool,
                                         MaxOverTime, MeanPool, SelfAttentionPool)
from tsai_rnnattn.models import GRUAttentionPlus
from tsai_rnnattn.testing import assert_compile, assert_export, assert_layer, assert_model, assert_padding, random_series

HEADS = {'default': None, 'flatten': flatten_head, 'last': last_step_head, 'mean': mean_pool_head, 'max': max_pool_head,
         'attention': attention_pool_head, 'step': step_head}
POOLS = tuple(h for h in HEADS if h not in ('default', 'flatten', 'step'))
each_head = pytest.mark.parametrize('head', HEADS)

def shape_of(head, d, c_out):
    places = [] if d is None else list(d) if isinstance(d, tuple) else [d]
    return [7]*(head == 'step') + places + ([c_out] if c_out > 1 or d is None else [])

@each_model
@each_head
@pytest.mark.parametrize('bidirectional,rnn_layers,d', list(product((False, True), (1, 2), (None, 5, (2,3)))))
def test_models(M, head, bidirectional, rnn_layers, d):
    make = lambda: M(3, 4, 7, d=d, bidirectional=bidirectional, rnn_layers=rnn_layers, custom_head=HEADS[head], **SMALL)
    assert_model(make, 3, 7, shape_of(head, d, 4), any_sl=head in POOLS + ('step',), per_step=head == 'step')

@each_model
@each_head
def test_one_output_drops_the_last_axis_only_with_d(M, head):
    for d in (None, 5, (2,3)):
        y = M(3, 1, 7, d=d, custom_head=HEADS[head], **SMALL)(series())
        assert list(y.shape) == [5, *shape_of(head, d, 1)]

@each_model
@pytest.mark.parametrize('d,flatten', [(None, False), (7, False), ((7,1), False), (5, True)])
def test_lin_nd_head_takes_lengths(M, d, flatten):
    model = M(3, 4, 7, d=d, flatten=flatten, bidirectional=True, **SMALL)
    assert_padding(model, series(), LENGTHS, any_sl=d is None)

@each_model
@each_head
def test_heads_honor_y_range_dropout_and_batch_norm(M, head):
    build = lambda **kw: M(3, 4, 7, custom_head=HEADS[head], **kw, **SMALL)
    x, lengths = series()*100, LENGTHS
    y = build(d=(2,3), y_range=(2, 5))(x, lengths)
    assert 2 <= y.min() and y.max() <= 5
    drops = lambda m: [l.p for l in m.head if isinstance(l, nn.Dropout)]
    assert drops(build(fc_dropout=0.3)) == [0.3] and drops(build()) == []
    has_bn = lambda m: any(isinstance(l, nn.BatchNorm1d) for l in m.head)
    assert not has_bn(build(use_bn=False))
    assert has_bn(build()) == (head not in ('default', 'flatten'))       # a flat head has batch norm only on request
    assert has_bn(M(3, 4, 7, custom_head=lambda *args: flatten_head(*args, use_bn=True), **SMALL))

@each_model
def test_layers_of_a_plain_sequential_get_lengths(M):
    model = M(3, 4, 7, custom_head=lambda d_model, c_out, seq_len: nn.Sequential(MeanPool(), nn.Linear(d_model, c_out)), **SMALL)
    assert_padding(model, series(), LENGTHS, any_sl=True)

@each_model
@pytest.mark.parametrize('causal', (False, True))
def test_causal(M, causal):
    model = M(3, 4, 7, causal=causal, custom_head=step_head, rnn_layers=2, **SMALL).eval()
    x = series()
    later = torch.cat([x[..., :4], random_series(5, 3, 3, seed=1)], 2)
    same = torch.isclose(model(x), model(later), atol=1e-6).all(-1).all(0)
    assert same.tolist() == ([True]*4 + [False]*3 if causal else [False]*7)
    assert_padding(model, x, LENGTHS, any_sl=True, per_step=True)

@each_model
@pytest.mark.parametrize('head,any_sl', [('default', False), ('last', True), ('mean', True), ('attention', True), ('step', True)])
@pytest.mark.parametrize('with_lengths', (False, True))
def test_export(M, head, any_sl, with_lengths):
    model = M(3, 4, 7, custom_head=HEADS[head], bidirectional=True, **SMALL)
    assert_export(model, series(), LENGTHS if with_lengths else None, any_sl)

@each_model
@pytest.mark.parametrize('with_lengths', (False, True))
def test_compile(M, with_lengths):
    model = M(3, 4, 7, custom_head=attention_pool_head, bidirectional=True, **{**SMALL, 'encoder_dropout': 0.})
    assert_compile(model, series(), *([LENGTHS] if with_lengths else []))

@pytest.mark.skipif(shutil.which('g++') is None, reason='the inductor backend needs a C++ compiler')
def test_compile_with_the_default_backend():
    assert_compile(GRUAttentionPlus(3, 4, 7, **{**SMALL, 'encoder_dropout': 0.}), series(), backend='inductor')

@each_model
def test_moves_between_devices(M):
    model, x = M(3, 4, 7, **SMALL), series()
    assert M(3, 4, 7, **SMALL).to('meta')(x.to('meta')).shape == (5, 4)
    if not torch.cuda.is_available(): pytest.skip('needs a GPU')
    want, lengths = model.eval()(x), LENGTHS
    gpu = model.cuda()
    torch.testing.assert_close(gpu(x.cuda()).cpu(), want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(gpu(x.cuda(), lengths.cuda()).cpu(), gpu.cpu()(x, lengths), atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('make,name', [
    (lambda: FlattenSteps(0), 'seq_len'), (lambda: flatten_head(0, 2, 7), 'd_model'), (lambda: flatten_head(6, 0, 7), 'c_out'),
    (lambda: flatten_head(6, 2, 0), 'seq_len'), (lambda: mean_pool_head(0, 2), 'd_model'), (lambda: mean_pool_head(6, 0), 'c_out'),
    (lambda: attention_pool_head(0, 2), 'd_model'), (lambda: step_head(0, 2), 'd_model'), (lambda: step_head(6, 0), 'c_out'),
    (lambda: lin_nd_head(0, 2), 'n_in'), (lambda: lin_nd_head(6, 0), 'n_out'), (lambda: lin_nd_head(6, 2, 0), 'seq_len')])
def test_bad_sizes_of_heads_are_refused(make, name):
    with pytest.raises(ValueError, match=f'^{name}=0: must be an integer'): make()

@pytest.mark.parametrize('head', (flatten_head, mean_pool_head, step_head, lin_nd_head))
def test_bad_dropouts_of_heads_are_refused(head):
    with pytest.raises(ValueError, match='fc_dropout=1: must be a probability'): head(6, 2, 7, fc_dropout=1)

def test_lin_nd_head_without_d_averages_any_number_of_steps():
    head, fixed = lin_nd_head(6, 2).eval(), lin_nd_head(6, 2, 7).eval()
    fixed.load_state_dict(head.state_dict())
    for sl in (7, 9): assert torch.equal(fixed(features(sl)), head(features(sl)))

def test_lin_nd_head_of_one_step_has_the_keys_of_tsai():
    head = lin_nd_head(6, 2, 1, d=4)
    assert list(head.state_dict()) == ['2.weight', '2.bias'] and head(features(1)).shape == (5, 4, 2)
    assert list(lin_nd_head(6, 2, 2, d=4, flatten=True).state_dict()) == ['1.weight', '1.bias']

def test_attention_pool_has_no_bias(): assert list(AttentionPool(6).state_dict()) == ['score.weight']

def test_repr_of_a_head_shows_its_settings():
    text = repr(flatten_head(6, 2, 7, d=(3,4), y_range=(0, 5)))
    for o in ('FlattenSteps(seq_len=7)', '(bs, 3, 4, 2)', 'low=0.0, high=5.0'): assert o in text

def features(sl=7): return random_series(5, 6, sl)                       # [bs, d_model, sl]
def steps(): return random_series(5, 7, 6)                               # [bs, sl, d_model]

@pytest.mark.parametrize('layer,inputs,shape', [
    (lambda: MultiHeadAttention(6, 4, 3, 2), lambda: [steps()]*3, (5, 7, 6)),
    (lambda: StepBatchNorm(6), lambda: [steps()], (5, 7, 6)),
    (lambda: TSTEncoderLayer(7, 6, 4, d_k=3), lambda: [steps()], (5, 7, 6)),
    (lambda: TSTEncoder(None, 6, 2, n_layers=2), lambda: [steps()], (5, 7, 6)),
    *[(lambda p=p: nn.Sequential(nn.Conv1d(6, 6, 1), p()), lambda: [features()], (5, 6))
      for p in (LastStep, LastState, MeanPool, MaxOverTime)],
    *[(lambda p=p: p(6), lambda: [features()], (5, 6))
      for p in (AttentionPool, AdditiveAttentionPool, LocalAttentionPool, HardAttentionPool)],
    (lambda: SelfAttentionPool(TSTEncoder(None, 6, 2)), lambda: [features()], (5, 6)),
    (lambda: nn.Sequential(nn.Conv1d(6, 6, 1), FlattenSteps(7)), lambda: [features()], (5, 42)),
    (lambda: flatten_head(6, 2, 7, use_bn=True), lambda: [features()], (5, 2)),
    (lambda: lin_nd_head(6, 2, 7, d=(3,4), flatten=True, use_bn=True), lambda: [features()], (5, 3, 4, 2)),
    (lambda: step_head(6, 2), lambda: [features()], (5, 7, 2)),
    (lambda: mean_pool_head(6, 2), lambda: [features()], (5, 2)),
])
def test_layers(layer, inputs, shape): assert_layer(layer(), *inputs(), shape=shape)

FIXED = {M: M(3, 4, 9, bidirectional=True, custom_head=attention_pool_head, **SMALL).eval() for M in MODELS}

@settings(max_examples=30, deadline=None)
@given(st.sampled_from(MODELS), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 4), st.integers(0, 9))
def test_an_output_does_not_depend_on_the_other_series_of_a_batch(M, lengths, extra, seed):
    sl = max(lengths) + extra
    x = random_series(len(lengths), 3, sl, seed)
    y = FIXED[M](x, torch.tensor(lengths))
    for o,n,want in zip(x, lengths, y): torch.testing.assert_close(FIXED[M](o[None, :, :n])[0], want, atol=1e-5, rtol=1e-4)
