"Layers at the edges: hooks, functional transforms, quantization, export for training, half precision, empty batches, compiled models."
import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from tests.common import LENGTHS, SMALL, each_model, series
from tests.test_memory import Largest
from tsai_rnnattn.core import get_activation_fn, padding_mask
from tsai_rnnattn.layers.attention import MultiHeadAttention, attention_maps, record_attention
from tsai_rnnattn.layers.heads import mean_pool_head, step_head
from tsai_rnnattn.layers.pooling import MeanPool
from tsai_rnnattn.layers.recurrent import recurrent_steps, reverse_steps
from tsai_rnnattn.models import GRUAttentionPlus, LSTMAttentionPlus
from tsai_rnnattn.testing import random_series

NO_DROPOUT = {**SMALL, 'encoder_dropout': 0.}

def packed_steps(rnn, x, lengths):
    "The oracle: torch's packed sequences"
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=x.shape[1])[0]

CELLS = dict(tanh=nn.RNN, relu=lambda *args, **kw: nn.RNN(*args, nonlinearity='relu', **kw), lstm=nn.LSTM, gru=nn.GRU,
             projected=lambda *args, **kw: nn.LSTM(*args, proj_size=3, **kw))

@pytest.mark.parametrize('cell', CELLS)
@pytest.mark.parametrize('kw', [dict(), dict(bias=False), dict(num_layers=3)], ids=str)
@pytest.mark.parametrize('bidirectional', (False, True))
def test_recurrent_steps_are_those_of_packed_sequences(cell, kw, bidirectional):
    rnn = CELLS[cell](2, 5, batch_first=True, bidirectional=bidirectional, **kw)
    x = random_series(5, 7, 2)                                           # [bs, sl, c_in]
    got, want = recurrent_steps(rnn, x, LENGTHS), packed_steps(rnn, x, LENGTHS)
    assert_close(got, want, atol=1e-6, rtol=1e-5)
    grads = [torch.autograd.grad(y.square().sum(), list(rnn.parameters())) for y in (got, want)]
    assert_close(*grads, atol=1e-5, rtol=1e-4)

def test_dropout_between_the_layers_of_a_bidirectional_network():
    rnn = nn.GRU(2, 64, num_layers=2, batch_first=True, bidirectional=True, dropout=0.5)
    x = random_series(5, 7, 2)
    assert not torch.allclose(recurrent_steps(rnn, x, LENGTHS), recurrent_steps(rnn, x, LENGTHS))
    assert_close(recurrent_steps(rnn.eval(), x, LENGTHS), packed_steps(rnn, x, LENGTHS), atol=1e-6, rtol=1e-5)

def test_reversing_twice_changes_nothing():
    x = random_series(5, 7, 2)
    assert torch.equal(reverse_steps(reverse_steps(x, LENGTHS), LENGTHS), x)

@pytest.mark.parametrize('bidirectional', (False, True))
def test_hooks_on_a_recurrent_network_see_tensors(bidirectional):
    rnn, seen = nn.GRU(2, 5, batch_first=True, bidirectional=bidirectional), []
    rnn.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape))
    rnn.register_forward_hook(lambda m, args, out: seen.append(out[0].shape))
    recurrent_steps(rnn, random_series(5, 7, 2), LENGTHS)
    assert seen == [(5, 7, 2), (5, 7, 5 * (1 + bidirectional))]

@pytest.mark.parametrize('bidirectional', (False, True))
def test_parametrized_weights_are_used(bidirectional):
    rnn = parametrizations.weight_norm(nn.GRU(2, 5, batch_first=True, bidirectional=bidirectional), 'weight_hh_l0')
    x = random_series(5, 7, 2)
    assert_close(recurrent_steps(rnn, x, LENGTHS), packed_steps(rnn, x, LENGTHS), atol=1e-6, rtol=1e-5)
    recurrent_steps(rnn, x, LENGTHS).sum().backward()
    assert rnn.parametrizations.weight_hh_l0.original0.grad.abs().sum() > 0

@pytest.mark.parametrize('M', (LSTMAttentionPlus, GRUAttentionPlus))             # torch quantizes no Elman RNN
@pytest.mark.parametrize('bidirectional', (False, True))
def test_dynamic_quantization(M, bidirectional):
    m, x = M(3, 4, 7, bidirectional=bidirectional, custom_head=mean_pool_head, **SMALL).eval(), series()
    small = torch.ao.quantization.quantize_dynamic(m, {nn.LSTM, nn.GRU, nn.Linear})
    assert 'quantized' in type(small.backbone.rnn).__module__
    for inputs in ((x,), (x, LENGTHS)): assert_close(small(*inputs), m(*inputs), atol=0.1, rtol=0)
    junk = x.masked_fill(~padding_mask(LENGTHS, 7)[:, None], 1e3)
    assert_close(small(junk, LENGTHS), small(x, LENGTHS))

def test_functional_gradients_in_training():
    "torch.func refuses batch norm in training, whose running statistics change in place"
    m, x = GRUAttentionPlus(3, 4, 7, norm='layer', **{**SMALL, 'encoder_dropout': 0.3}).train(), series()
    def loss(params):
        torch.manual_seed(0)
        return functional_call(m, params, (x,)).square().sum()
    params = {k: v.detach() for k,v in m.named_parameters()}
    loss(dict(m.named_parameters())).backward()
    for k,g in grad(loss)(params).items(): assert_close(g, m.get_parameter(k).grad, msg=k)

@each_model
@pytest.mark.parametrize('bidirectional', (False, True))
@pytest.mark.parametrize('with_lengths', (False, True))
def test_export_for_training(M, bidirectional, with_lengths):
    m, inputs = M(3, 4, 7, bidirectional=bidirectional, custom_head=mean_pool_head, **NO_DROPOUT).train(), (series(),)
    if with_lengths: inputs = (series(), LENGTHS)
    exported = torch.export.export(m, inputs).module()
    assert_close(exported(*inputs), m(*inputs), atol=1e-5, rtol=1e-4)
    assert_close(exported.get_buffer('head.0.running_mean'), m.head[0].running_mean, atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_the_mean_of_large_values_in_half_precision(dtype):
    x, lengths = torch.full((3, 2, 101), 3e4, dtype=dtype), torch.tensor([101, 67, 1])
    y = MeanPool()(x, lengths)
    assert y.dtype == dtype
    assert_close(y, x[..., 0])

@each_model
@pytest.mark.parametrize('train', (False, True))
def test_an_empty_batch(M, train):
    m = M(3, 4, 7, bidirectional=True, custom_head=mean_pool_head, **SMALL).train(train)
    for inputs in ((series()[:0],), (series()[:0], LENGTHS[:0])): assert m(*inputs).shape == (0, 4)

@each_model
def test_sizes_may_be_integers_of_numpy(M):
    n = {k: np.int64(v) for k,v in dict(SMALL, rnn_layers=2, d_k=3, d_v=5).items()}
    for kw in (dict(), dict(d=np.int32(5)), dict(custom_head=step_head, d=(np.int64(2), 3))):
        m = M(np.int64(3), np.int32(4), np.uint8(7), **kw, **n)
        assert m(series()).shape[0] == 5
        assert type(m.backbone.rnn.input_size) is type(m.backbone.encoder.layers[0].self_attn.n_heads) is int

@each_model
def test_no_number_of_steps_is_needed_for_heads_that_take_any(M):
    for kw in (dict(custom_head=mean_pool_head), dict(flatten=False)):
        m = M(3, 4, None, **kw, **SMALL)
        assert m(series(sl=7)).shape == m(series(sl=11)).shape == (5, 4) and m.head_nf is None
    for kw in (dict(), dict(d=7), dict(d=7, flatten=False)):
        with pytest.raises(ValueError, match='seq_len=None'): M(3, 4, None, **kw, **SMALL)

@pytest.mark.parametrize('act,cls', [(torch.relu, nn.ReLU), (nn.functional.gelu, nn.GELU), (nn.functional.leaky_relu, nn.LeakyReLU),
                                     (torch.nn.functional.silu, nn.SiLU), ('swish', nn.SiLU), ('Leaky_ReLU', nn.LeakyReLU),
                                     (lambda: nn.LeakyReLU(0.3), nn.LeakyReLU)])
def test_activations_by_function_and_other_names(act, cls): assert type(get_activation_fn(act)) is cls

@pytest.mark.parametrize('act', (torch.exp, torch.matmul, 3, None))
def test_other_functions_are_no_activations(act):
    with pytest.raises(TypeError, match="must be a name such as 'gelu'"): get_activation_fn(act)

@pytest.mark.parametrize('compile', [lambda m: torch.compile(m, backend='eager'), lambda m: m.compile(backend='eager') or m])
def test_attention_of_a_compiled_model(compile):
    torch.compiler.reset()
    m = GRUAttentionPlus(3, 4, 7, **SMALL).eval()
    want, fast = attention_maps(m, series()), compile(m)
    fast(series())
    assert_close(attention_maps(fast, series()), want)
    with record_attention(fast) as weights: fast(series())
    assert_close(weights[0], want[0])
    fast(series())
    assert len(weights) == 1

def test_attention_maps_take_lengths_by_name():
    m = GRUAttentionPlus(3, 4, 7, **SMALL)
    assert torch.equal(attention_maps(m, series(), lengths=LENGTHS), attention_maps(m, series(), LENGTHS))

@pytest.mark.parametrize('need_weights', (True, False))
def test_causal_attention_needs_as_many_keys_as_queries(need_weights):
    mha, q, k = MultiHeadAttention(6, 2, 3, 3), random_series(2, 3, 6), random_series(2, 5, 6)
    with pytest.raises(ValueError, match='3 queries and 5 keys'): mha(q, k, k, is_causal=True, need_weights=need_weights)

@pytest.mark.parametrize('train', (True, False))
def test_causal_attention_with_lengths_creates_no_steps_by_steps_tensor(train):
    def largest(sl):
        m = GRUAttentionPlus(3, 4, sl, causal=True, custom_head=step_head, **SMALL).train(train)
        with Largest() as seen, torch.set_grad_enabled(train):
            y = m(series(sl=sl), torch.tensor([sl, 1, sl//2, sl - 1, sl]))
            if train: y.sum().backward()
        return seen.nbytes
    assert largest(800) <= 2.1 * largest(400)

def test_causal_attention_maps_with_lengths():
    m = GRUAttentionPlus(3, 4, 7, causal=True, custom_head=step_head, **SMALL)
    maps = attention_maps(m, series(), LENGTHS)
    for i,n in enumerate(LENGTHS):
        assert not maps[:, i, :, :, n:].any()
        assert_close(maps[:, i, :, :n, :n], attention_maps(m, series()[i:i+1, :, :n])[:, 0], atol=1e-6, rtol=1e-5)
