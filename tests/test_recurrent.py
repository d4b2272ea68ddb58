"The recurrent layer: lengths, last states, states in and out, carried states; and token embeddings."
from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from tests.common import LENGTHS
from tsai_rnnattn.core import padding_mask
from tsai_rnnattn.layers.embedding import embed_tokens, pad_last, token_embedding
from tsai_rnnattn.layers.recurrent import RecurrentLayer, recurrent_states, recurrent_type
from tsai_rnnattn.testing import assert_layer, random_series, random_tokens

TYPES = dict(rnn='rnn', relu=partial(nn.RNN, nonlinearity='relu'), lstm='lstm', gru='gru', projected=partial(nn.LSTM, proj_size=3))
each_type = pytest.mark.parametrize('rnn_type', TYPES.values(), ids=TYPES)
each_direction = pytest.mark.parametrize('bidirectional', (False, True))

def steps(bs=5, sl=7, seed=0): return random_series(bs, sl, 3, seed)     # [bs, sl, c_in]

def tensors(hidden): return [hidden] if torch.is_tensor(hidden) else [o for h in hidden for o in tensors(h)]

def packed(rnn, x, lengths, hidden=None):
    "The oracle: torch's packed sequences"
    out, hidden = rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), hidden)
    return pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0], hidden

@each_type
@each_direction
@pytest.mark.parametrize('n_layers', (1, 3))
def test_outputs_and_states_are_those_of_torch(rnn_type, bidirectional, n_layers):
    layer = RecurrentLayer(3, 5, n_layers, rnn_type, bidirectional=bidirectional)
    rnn, x = layer.rnn['0'], steps()
    start = layer.init_hidden(5)
    assert [o.shape for o in tensors(start)] == [o.shape for o in tensors(rnn(x)[1])] and not any(o.any() for o in tensors(start))
    for lengths in (None, LENGTHS):
        want, state = rnn(x) if lengths is None else packed(rnn, x, lengths)
        got, last, hidden = layer(x, lengths, hidden=start)
        assert_close([got, *tensors(hidden)], [want, *tensors(state)], atol=1e-6, rtol=1e-5)
        assert_close(layer(x, lengths), (got, last), atol=1e-6, rtol=1e-5)               # without states, and without packing
        h = tensors(state)[0]                                                            # [n_layers * directions, bs, hidden_size]
        assert_close(last, torch.cat([h[-2], h[-1]], 1) if bidirectional else h[-1], atol=1e-6, rtol=1e-5)

@each_type
def test_networks_of_several_sizes(rnn_type):
    layer = RecurrentLayer(3, [11, 7, 5], rnn_type=rnn_type, bidirectional=True)
    x = steps()
    for rnn in layer.rnn.values(): x = packed(rnn, x, LENGTHS)[0]
    assert_close(layer(steps(), LENGTHS)[0], x, atol=1e-6, rtol=1e-5)
    assert layer.d_model == x.shape[2] and len(layer.init_hidden(5)) == 3
    y, _, hidden = layer(steps(), LENGTHS, hidden=layer.init_hidden(5))
    assert_close(y, x, atol=1e-6, rtol=1e-5)
    assert [o.shape for o in tensors(hidden)] == [o.shape for o in tensors(layer.init_hidden(5))]

@each_type
@each_direction
def test_contract(rnn_type, bidirectional):
    layer = RecurrentLayer(3, [8, 5], rnn_type=rnn_type, bidirectional=bidirectional)
    assert_layer(layer, steps(), LENGTHS, shape=(5, 7, layer.d_model))

@each_type
def test_parts_with_lengths_continue_each_series_at_its_end(rnn_type):
    layer, x = RecurrentLayer(3, 5, 2, rnn_type), steps()
    junk = x.masked_fill(~padding_mask(LENGTHS, 7)[..., None], torch.nan)
    _, _, hidden = layer(junk, LENGTHS, hidden=layer.init_hidden(5))
    more = steps(sl=2, seed=1)
    y = layer(more, hidden=hidden)[0]
    for i,n in enumerate(LENGTHS): assert_close(y[i], layer(torch.cat([x[i, :n], more[i]])[None])[0][0, n:], atol=1e-6, rtol=1e-5)

def test_gradients_flow_through_a_state_that_is_passed():
    layer = RecurrentLayer(3, 5, rnn_type='gru')
    x = steps().requires_grad_()
    _, _, hidden = layer(x[:, :4], hidden=layer.init_hidden(5))
    layer(x[:, 4:], hidden=hidden)[1].sum().backward()
    assert x.grad[:, :4].abs().sum() > 0

@pytest.mark.parametrize('kw,hidden,says', [
    (dict(rnn_type='gru'), torch.zeros(1, 4, 5), r'hidden of shape \[1, 4, 5\]: expected \[1, 5, 5\]; begin with init_hidden\(5\)'),
    (dict(rnn_type='gru', n_layers=2), torch.zeros(1, 5, 5), r'expected \[2, 5, 5\]'),
    (dict(rnn_type='lstm'), torch.zeros(1, 5, 5), r'expected \[1, 5, 5\], \[1, 5, 5\]'),
    (dict(rnn_type='lstm'), (torch.zeros(1, 5, 5), torch.zeros(1, 5, 4)), r'of shape \[1, 5, 5\], \[1, 5, 4\]')])
def test_states_that_do_not_fit_are_refused(kw, hidden, says):
    with pytest.raises(ValueError, match=says): RecurrentLayer(3, 5, **kw)(steps(), hidden=hidden)

def test_lengths_that_do_not_fit_are_refused():
    for lengths in (LENGTHS[:4], LENGTHS + 1, LENGTHS - 1):
        with pytest.raises(ValueError, match='length'): RecurrentLayer(3, 5)(steps(), lengths)

@pytest.mark.parametrize('kw,says', [
    (dict(c_in=0), 'c_in=0'), (dict(hidden_size=()), 'a list of them'), (dict(hidden_size=[5, -1]), 'hidden_size=-1'),
    (dict(n_layers=0), 'n_layers=0'),
    (dict(hidden_size=[5, 5], n_layers=2), 'leave out n_layers'), (dict(rnn_dropout=1), 'rnn_dropout=1'),
    (dict(rnn_type='lstn'), "'rnn', 'lstm' or"),
    (dict(stateful=True, bidirectional=True), 'choose one')])
def test_bad_arguments_are_refused(kw, says):
    with pytest.raises(ValueError, match=says): RecurrentLayer(**{'c_in': 3, **kw})

def test_types_by_name_and_class():
    assert [recurrent_type(o) for o in ('rnn', 'LSTM', 'gru', nn.GRU)] == [nn.RNN, nn.LSTM, nn.GRU, nn.GRU]
    with pytest.raises(TypeError, match='rnn_type=3'): recurrent_type(3)

def test_dropout_between_networks_of_several_sizes():
    layer, x = RecurrentLayer(3, [64, 5], rnn_dropout=0.5), steps()
    assert not torch.allclose(layer(x)[0], layer(x)[0])
    assert torch.equal(layer.eval()(x)[0], layer(x)[0])
    assert layer.rnn['0'].dropout == 0                                   # torch would warn of a dropout that it does not apply


# carried states

@each_type
@pytest.mark.parametrize('size', (5, [8, 5]), ids=str)
def test_batches_in_a_row_are_one_series(rnn_type, size):
    layer, x = RecurrentLayer(3, size, rnn_type=rnn_type, stateful=True), steps()
    got = torch.cat([layer(o)[0] for o in x.split(3, 1)], 1)
    layer.reset()
    assert_close(got, layer(x)[0], atol=1e-6, rtol=1e-5)

def test_a_carried_state_has_no_graph():
    layer, x = RecurrentLayer(3, 5, stateful=True), steps().requires_grad_()
    layer(x[:, :4])
    layer(x[:, 4:])[1].sum().backward()
    assert not x.grad[:, :4].any() and not any(o.requires_grad for o in tensors(layer.hidden))

def test_a_batch_of_another_size_begins_with_zeros():
    layer, x = RecurrentLayer(3, 5, stateful=True), steps()
    want = layer(x)[0]
    assert_close(layer(x[:3])[0], want[:3])
    assert_close(layer(x)[0], want)

def test_a_carried_state_follows_device_and_dtype():
    layer, x = RecurrentLayer(3, 5, stateful=True), steps()
    layer(x)
    want = layer.double()(x.double())[0]
    assert want.dtype == torch.float64
    fresh = RecurrentLayer(3, 5).double()
    fresh.load_state_dict(layer.state_dict())
    assert_close(want, fresh(torch.cat([x, x], 1).double())[0][:, 7:], atol=1e-5, rtol=1e-4)
    assert layer.to('meta')(x.to('meta'))[0].shape == (5, 7, 5)

def test_a_state_from_inference_mode_can_be_trained_with():
    layer, x = RecurrentLayer(3, 5, stateful=True), steps()
    with torch.inference_mode(): layer(x)
    layer(x)[1].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())

def test_a_copy_has_its_own_state():
    layer, x = RecurrentLayer(3, 5, stateful=True), steps()
    layer(x)
    copy = deepcopy(layer)
    want = layer(x)[0]
    assert_close(copy(x)[0], want)
    assert list(layer.state_dict()) == list(RecurrentLayer(3, 5).state_dict())

def test_a_state_that_is_passed_leaves_the_carried_one_alone():
    layer, x = RecurrentLayer(3, 5, stateful=True), steps()
    layer(x)
    before = layer.hidden
    layer(x, hidden=layer.init_hidden(5))
    assert layer.hidden is before

def test_export():
    layer, x = RecurrentLayer(3, 5, n_layers=2).eval(), steps()
    inputs = x, None, layer.init_hidden(5)
    got = torch.export.export(layer, inputs).module()(*inputs)
    assert_close([*got[:2], *got[2]], [*layer(*inputs)[:2], *layer(*inputs)[2]])
    with pytest.raises(ValueError, match='pass `hidden`'): torch.export.export(RecurrentLayer(3, 5, stateful=True), (x,))
    projected = RecurrentLayer(3, 5, rnn_type=partial(nn.LSTM, proj_size=2)).eval()
    assert_close(torch.export.export(projected, (x,)).module()(x), projected(x))
    with pytest.raises(ValueError, match='proj_size=2'): torch.export.export(projected, (x, torch.tensor([7, 1, 6, 2, 7])))

def test_recurrent_states_of_quantized_networks():
    layer = RecurrentLayer(3, 5, n_layers=2, rnn_type='lstm').eval()
    small = torch.ao.quantization.quantize_dynamic(layer, {nn.LSTM})
    assert 'quantized' in type(small.rnn['0']).__module__
    for hidden in (None, layer.init_hidden(5)):
        got, want = (tensors(o(steps(), LENGTHS, hidden)) for o in (small, layer))
        for a,b in zip(got, want): assert_close(a, b, atol=0.1, rtol=0)

def test_recurrent_states_without_lengths_are_the_networks_own():
    rnn = nn.GRU(3, 5, batch_first=True)
    assert_close(recurrent_states(rnn, steps()), rnn(steps()))


# token embeddings

def test_padding_moves_behind_the_tokens():
    x = random_tokens(5, 11, 7)
    padded = torch.zeros(5, 13, dtype=torch.int64)
    for i,n in enumerate(LENGTHS): padded[i, i:i+n] = x[i, :n]           # some before, some behind
    ids, lengths, places = pad_last(padded, 0)
    assert torch.equal(lengths, LENGTHS)
    for i,n in enumerate(LENGTHS): assert torch.equal(ids[i, :n], x[i, :n]) and not ids[i, n:].any()
    assert torch.equal(padded.gather(1, places), ids)

@pytest.mark.parametrize('dtype', (torch.int64, torch.int32, torch.uint8, torch.float32, torch.float64))
def test_ids_of_any_numeric_dtype(dtype):
    embed, x = token_embedding(11, 5, padding_idx=0), random_tokens(5, 11, 7)
    assert torch.equal(embed_tokens(embed, x.to(dtype), LENGTHS)[0], embed_tokens(embed, x, LENGTHS)[0])

def test_without_a_padding_token_all_are_real():
    assert embed_tokens(token_embedding(11, 5), torch.zeros(2, 3, dtype=torch.int64))[1:] == (None, None)

@pytest.mark.parametrize('kw,says', [
    (dict(vocab_size=0, embed_dim=5), 'vocab_size=0'), (dict(vocab_size=11, embed_dim=0), 'embed_dim=0'),
    (dict(vocab_size=11), 'pass embed_dim'),
    (dict(vocab_size=11, embed_dim=5, padding_idx=-1), 'from 0 to 10'),
    (dict(vocab_size=11, embed_matrix=torch.zeros(10, 5)), 'a row per token'),
    (dict(vocab_size=11, embed_matrix=torch.zeros(11)), r'shape \[11\]'),
    (dict(vocab_size=11, embed_matrix=torch.full((11, 5), torch.inf)), 'row 0')])
def test_bad_embeddings_are_refused(kw, says):
    with pytest.raises(ValueError, match=says): token_embedding(**kw)

def test_pretrained_vectors():
    vectors = torch.randn(11, 5, dtype=torch.float64)
    embed = token_embedding(11, embed_matrix=vectors.numpy(), embed_trainable=False, padding_idx=2)
    assert embed.weight.dtype == torch.float32 and not embed.weight.requires_grad and embed.padding_idx == 2
    assert_close(embed.weight, vectors.float())
    shared = torch.randn(11, 5)
    trained = token_embedding(11, embed_matrix=shared)
    with torch.no_grad(): trained.weight.zero_()
    assert trained.weight.requires_grad and shared.any()                 # a copy
    with pytest.warns(UserWarning, match='embed_dim=7 is not used'): token_embedding(11, 7, embed_matrix=shared)
