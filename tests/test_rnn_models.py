"The recurrent models over their arguments: for series and for token ids."
from copy import deepcopy
from functools import partial

import pytest
import torch
from fastai.callback.rnn import ModelResetter
from fastai.learner import Learner
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from tests.common import LENGTHS, quiet_fit, series, stable_id
import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.layers.heads import attention_pool_head, flatten_head, mean_pool_head, pool_head, step_head
from tsai_rnnattn.layers.pooling import LastState, MeanPool
from tsai_rnnattn.models import GRU, GRUPlus, LSTM, LSTMPlus, RNN, RNNClassifier, RNNPlus
from tsai_rnnattn.testing import assert_compile, assert_export, assert_model, assert_token_model, random_series, random_tokens

MODELS = (RNNPlus, LSTMPlus, GRUPlus)
each_model = pytest.mark.parametrize('M', MODELS, ids=lambda m: m.__name__)
HEADS = {'default': None, 'both ends': partial(pool_head, LastState()), 'mean': mean_pool_head, 'attention': attention_pool_head,
         'step': step_head}
each_head = pytest.mark.parametrize('head', HEADS)
TOKENS = dict(vocab_size=11, c_out=4, embed_dim=5, hidden_size=8)

def places(d): return [] if d is None else list(d) if isinstance(d, tuple) else [d]

def tokens(sl=7): return random_tokens(5, 11, sl)


# series

@each_model
@each_head
@pytest.mark.parametrize('size,bidirectional,d', [(8, False, None), ([8, 6], True, None), (8, True, 5), ([8, 6], False, (2,3))], ids=str)
def test_contract(M, head, size, bidirectional, d):
    make = lambda: M(3, 4, hidden_size=size, bidirectional=bidirectional, custom_head=HEADS[head], d=d)
    step = head == 'step'
    assert_model(make, 3, 7, [7]*step + places(d) + [4], any_sl=True, per_step=step)

@each_model
@pytest.mark.parametrize('kw', [dict(last_step=False), dict(last_step=False, d=(2,3), y_range=(0, 1), fc_dropout=0.1),
                                dict(custom_head=flatten_head, bidirectional=True)], ids=stable_id)
def test_contract_of_heads_with_a_fixed_number_of_steps(M, kw):
    assert_model(lambda: M(3, 4, 7, 8, **kw), 3, 7, places(kw.get('d')) + [4])
    with pytest.raises(ValueError, match='seq_len'): M(3, 4, hidden_size=8, **kw)
    with pytest.raises(ValueError, match='seq_len=7'): M(3, 4, 7, 8, **kw)(series(sl=9))

@each_model
@each_head
@pytest.mark.parametrize('with_lengths', (False, True))
def test_export(M, head, with_lengths):
    model = M(3, 4, hidden_size=[8, 6], bidirectional=True, custom_head=HEADS[head])
    assert_export(model, series(), LENGTHS if with_lengths else None, any_sl=True)

@each_model
@pytest.mark.parametrize('with_lengths', (False, True))
def test_compile(M, with_lengths):
    assert_compile(M(3, 4, hidden_size=8, bidirectional=True), series(), *([LENGTHS] if with_lengths else []))

@each_model
def test_arguments_reach_their_place(M):
    model = M(3, 4, 7, 8, n_layers=3, bias=False, rnn_dropout=0.2, bidirectional=True, fc_dropout=0.3, y_range=(2, 5), stateful=False)
    rnn = model.backbone.rnn['0']
    assert (rnn.input_size, rnn.hidden_size, rnn.num_layers, rnn.bias, rnn.dropout, rnn.bidirectional) == (3, 8, 3, False, 0.2, True)
    assert [o.p for o in model.head if isinstance(o, nn.Dropout)] == [0.3]
    y = model(series()*100)
    assert 2 <= y.min() and y.max() <= 5 and model.head_nf == 16
    assert [o.hidden_size for o in M(3, 4, hidden_size=[8, 8, 6]).backbone.rnn.values()] == [8, 8, 6]
    assert type(rnn).__name__ == M.__name__.removesuffix('Plus')

@each_model
def test_initialization(M):
    "Only the forget gate of an LSTM has a bias of 1"
    for rnn in M(3, 4, hidden_size=[8, 8]).backbone.rnn.values():
        assert rnn.bias_ih_l0.count_nonzero() == (8 if M is LSTMPlus else 0) and not rnn.bias_hh_l0.any()
        if M is LSTMPlus: assert (rnn.bias_ih_l0[8:16] == 1).all()
    assert M(3, 4, init_weights=False).backbone.rnn['0'].bias_hh_l0.all()

@each_model
@pytest.mark.parametrize('kw,says', [
    (dict(c_in=0), 'c_in=0'), (dict(c_out=0), 'c_out=0'), (dict(seq_len=0), 'seq_len=0'), (dict(hidden_size=0), 'hidden_size=0'),
    (dict(hidden_size=[]), 'a list of them'), (dict(n_layers=0), 'n_layers=0'),
    (dict(hidden_size=[8, 8], n_layers=2), 'leave out n_layers'),
    (dict(rnn_dropout=1), 'rnn_dropout'), (dict(fc_dropout=-1), 'fc_dropout'), (dict(d=0), 'd=0'),
    (dict(y_range=(1, 1)), 'y_range'), (dict(y_range=()), 'y_range'),
    (dict(last_step=False), 'pass seq_len'), (dict(last_step=False, custom_head=step_head), 'leave one out'),
    (dict(custom_head=MeanPool(), d=5), 'is a module'), (dict(stateful=True, bidirectional=True), 'choose one')], ids=stable_id)
def test_bad_arguments_are_refused(M, kw, says):
    with pytest.raises(ValueError, match=says): M(**{'c_in': 3, 'c_out': 4, **kw})

@each_model
def test_unknown_arguments_and_heads_are_refused(M):
    with pytest.raises(TypeError, match='hidden_sizes'): M(3, 4, hidden_sizes=8)
    with pytest.raises(TypeError, match='custom_head=3'): M(3, 4, custom_head=3)

def test_names_of_tsai():
    assert (RNN, LSTM, GRU) == MODELS

@each_model
def test_trains_on_series_of_unequal_length(M):
    X = [random_series(1, 3, n, seed=n)[0].numpy() for n in range(5, 25)]
    dls = TSDataLoaders.from_numpy(X, ['a', 'b'] * 10, bs=4, cut_batches=True, seed=1)
    learn = quiet_fit(Learner(dls, M(dls.vars, dls.c, dls.len, 8)))
    probs, _, decoded = learn.get_X_preds(X[:3])
    assert probs.shape == (3, 2) and set(decoded) <= {'a', 'b'}

@each_model
def test_a_series_in_parts(M):
    model, x = M(3, 4, hidden_size=8, n_layers=2).eval(), series()
    y, hidden = model(x[..., :4], hidden=model.init_hidden(5))
    assert_close(model(x[..., 4:], hidden=hidden)[0], model(x), atol=1e-6, rtol=1e-5)
    keeps = M(3, 4, hidden_size=8, n_layers=2, stateful=True).eval()
    keeps.load_state_dict(model.state_dict())
    keeps(x[..., :4])
    assert_close(keeps(x[..., 4:]), model(x), atol=1e-6, rtol=1e-5)
    keeps.reset()
    assert_close(keeps(x), model(x))

def test_model_resetter_resets_before_each_epoch():
    "The state is carried from batch to batch, not from training to validation nor from epoch to epoch"
    dls = TSDataLoaders.from_numpy(random_series(20, 3, 7).numpy(), ['a', 'b'] * 10, splits=[range(12), range(12, 20)], bs=4)
    learn = Learner(dls, GRUPlus(3, 2, hidden_size=8, stateful=True), cbs=ModelResetter)
    seen = []
    learn.model.backbone.register_forward_pre_hook(lambda m, args: seen.append((m.training, m.hidden is None)))
    quiet_fit(learn, 2)
    assert seen == [(True, True), (True, False), (True, False), (False, True), (False, False)] * 2
    assert learn.model.backbone.hidden is None

def test_pair_of_series_and_lengths():
    model = GRUPlus(3, 4, hidden_size=8).eval()
    assert_close(model((series(), LENGTHS)), model(series(), LENGTHS))


# tokens

@pytest.mark.parametrize('rnn_type', ('rnn', 'lstm', 'gru', partial(nn.RNN, nonlinearity='relu')), ids=str)
@pytest.mark.parametrize('kw', [dict(), dict(bidirectional=True, n_layers=2), dict(hidden_size=[8, 6], rnn_dropout=0.2, d=(2,3)),
                                dict(embed_dropout=0.2, fc_dropout=0.1, y_range=(0, 1)),
                                dict(padding_idx=None), dict(padding_idx=1)], ids=str)
def test_token_contract(rnn_type, kw):
    make = lambda: RNNClassifier(rnn_type=rnn_type, **{**TOKENS, **kw})
    assert_token_model(make, 11, 7, [*places(kw.get('d')), 4], kw.get('padding_idx', 0))

@each_head
def test_token_contract_of_heads(head):
    step = head == 'step'
    make = lambda: RNNClassifier(bidirectional=True, custom_head=HEADS[head], **TOKENS)
    assert_token_model(make, 11, 7, [7]*step + [4], padding_idx=0, per_step=step)

@each_head
@pytest.mark.parametrize('with_lengths', (False, True))
def test_token_export(head, with_lengths):
    model = RNNClassifier(bidirectional=True, custom_head=HEADS[head], **TOKENS)
    assert_export(model, tokens(), LENGTHS if with_lengths else None, any_sl=True)

@pytest.mark.parametrize('with_lengths', (False, True))
def test_token_compile(with_lengths): assert_compile(RNNClassifier(**TOKENS), tokens(), *([LENGTHS] if with_lengths else []))

def test_token_ids_of_half_a_million():
    model = RNNClassifier(500_000, 4, embed_dim=2, hidden_size=8)
    assert model(torch.tensor([[499_999, 7]])).shape == (1, 4)

def test_bidirectional_classifier_is_that_of_packed_sequences():
    "The network of the usual exercise: packed tokens, an LSTM, the last states of both directions, a linear layer"
    model, x = RNNClassifier(bidirectional=True, rnn_type='lstm', **TOKENS).eval(), tokens()
    packed = pack_padded_sequence(model.embed(x), LENGTHS, batch_first=True, enforce_sorted=False)
    _, (h, _) = model.backbone.rnn['0'](packed)
    assert_close(model(x, LENGTHS), model.head[-1](torch.cat([h[-2], h[-1]], 1)), atol=1e-6, rtol=1e-5)

def test_sentences_read_in_parts():
    "As with a loader of parts of long texts: state in, last output and state out, for every sequence"
    model, x = RNNClassifier(11, 1, 5, 8, n_layers=2, y_range=(0, 1)).eval(), tokens(13)
    hidden = model.init_hidden(5)
    assert [o.shape for o in hidden] == [(2, 5, 8)] * 2
    for part in x.split(4, 1): y, hidden = model(part, hidden=hidden)
    logit = model.head[1](model.backbone.rnn['0'](model.embed(x))[0][:, -1])
    assert_close(y, logit.sigmoid(), atol=1e-6, rtol=1e-5)

def test_stateful_texts_with_padding():
    model, x = RNNClassifier(stateful=True, **TOKENS).eval(), tokens()
    model(x, LENGTHS)
    y, more = model(tokens(3), None), tokens(3)
    model.reset()
    for i,n in enumerate(LENGTHS):
        one = deepcopy(model)
        assert_close(one(torch.cat([x[i, :n], more[i]])[None])[0], y[i], atol=1e-6, rtol=1e-5)

def test_pretrained_vectors():
    vectors = random_series(1, 11, 5)[0].numpy()
    model = RNNClassifier(11, 4, embed_matrix=vectors, embed_trainable=False, hidden_size=8)
    model(tokens(), LENGTHS).sum().backward()
    assert model.embed.weight.grad is None and torch.equal(model.embed.weight, torch.tensor(vectors))
    assert RNNClassifier(11, 4, embed_matrix=vectors, hidden_size=8).embed.weight.requires_grad
    assert RNNClassifier(11, 4).embed.embedding_dim == 100

@pytest.mark.parametrize('kw,says', [
    (dict(vocab_size=0), 'vocab_size=0'), (dict(c_out=0), 'c_out=0'), (dict(embed_dim=0), 'embed_dim=0'),
    (dict(padding_idx=11), 'padding_idx=11'),
    (dict(token_dropout=1), 'token_dropout'), (dict(embed_dropout=1), 'embed_dropout'),
    (dict(fc_dropout=2), 'fc_dropout'), (dict(rnn_type='lstn'), 'lstn'),
    (dict(d=0), 'd=0'), (dict(y_range=(1, 0)), 'y_range'),
    (dict(stateful=True, bidirectional=True), 'choose one'), (dict(embed_matrix=torch.zeros(3, 5)), 'a row per token')], ids=str)
def test_bad_arguments_for_tokens_are_refused(kw, says):
    with pytest.raises(ValueError, match=says): RNNClassifier(**{**TOKENS, **kw})

@pytest.mark.parametrize('x,says', [
    (torch.zeros(5, dtype=torch.int64), r'x\[None\]'), (torch.zeros(5, 3, 7), r'\[bs, sl\]'),
    (torch.full((5, 7), 11), 'text 0, step 0 is 11'),
    (torch.full((5, 7), 1.5), 'a whole number')])
def test_bad_tokens_are_refused(x, says):
    with pytest.raises(ValueError, match=says): RNNClassifier(**TOKENS)(x)

def test_other_inputs_are_refused():
    with pytest.raises(TypeError, match='pass torch.tensor'): RNNClassifier(**TOKENS)(tokens().numpy())

def test_dropouts_after_the_embedding():
    model = RNNClassifier(11, 4, token_dropout=0.5)
    steps = model._steps(random_tokens(200, 11, 7), None)[0]             # [bs, sl, embed_dim]
    hidden = (steps == 0).all(2)
    assert 0.4 < hidden.float().mean() < 0.6 and (steps[~hidden] != 0).all()
    steps = RNNClassifier(11, 4, embed_dropout=0.5)._steps(random_tokens(200, 11, 7), None)[0]
    assert 0.4 < (steps == 0).float().mean() < 0.6 and not (steps == 0).all(2).any()

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('bidirectional', (False, True))
def test_on_a_gpu(bidirectional):
    for model, x in ((GRUPlus(3, 4, hidden_size=[8, 6], bidirectional=bidirectional), series()),
                     (RNNClassifier(bidirectional=bidirectional, custom_head=attention_pool_head, **TOKENS), tokens())):
        want = model.eval()(x, LENGTHS)
        assert_close(model.cuda()(x.cuda(), LENGTHS.cuda()).cpu(), want, atol=1e-4, rtol=1e-4)
        y, hidden = model(x.cuda(), hidden=model.init_hidden(5))
        assert y.is_cuda and hidden is not None
