"""Checkpoints of pytorch-widedeep 1.7.0 load with strict=True, and the outputs are the same.

The tests of what was recorded need no pytorch-widedeep: pytorch_widedeep_1.7.0_outputs.json holds the names and shapes of the weights of
its `BasicRNN` and `AttentiveRNN`, and what they return. To record it again, in an environment with pytorch-widedeep:
`python -m tests.test_widedeep_parity`. The other tests compare with pytorch-widedeep itself, in that environment. Its wheel installs a
package `tests`, too, which hides this folder: delete it from that environment's site-packages. The notebook 22_models.attentive_rnn.ipynb
loads a checkpoint made from this record."""
import json
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmarks.common import shim_torchvision
from tsai_rnnattn.models import attentive_rnn as ours
from tsai_rnnattn.testing import random_tokens

RECORD = Path(__file__).parent/'pytorch_widedeep_1.7.0_outputs.json'
SMALL = dict(vocab_size=11, embed_dim=3, hidden_dim=5, n_layers=2, padding_idx=0)
NAMES = ('BasicRNN', 'AttentiveRNN')
TEXTS = torch.tensor([[3, 7, 2, 10, 4, 4, 9], [8, 2, 5, 1, 6, 3, 2]])
PADDED = torch.tensor([[0, 0, 0, 10, 4, 4, 9], [0, 2, 5, 1, 6, 3, 2]])                          # as pytorch-widedeep pads
HEADS = [dict(head_hidden_dims=[7]), dict(head_hidden_dims=[7, 2], head_dropout=0.3, head_activation='tanh'),
         dict(head_hidden_dims=[7, 4, 2], head_dropout=[0.2, 0., 0.1], head_batchnorm=True, head_activation='gelu'),
         dict(head_hidden_dims=[7, 2], head_batchnorm=True, head_batchnorm_last=True, head_activation='leaky_relu'),
         dict(head_hidden_dims=[7, 2], head_dropout=0.1, head_linear_first=True, head_activation='gelu'),
         dict(head_hidden_dims=[7, 4, 2], head_dropout=0.2, head_batchnorm=True, head_linear_first=True, head_activation='tanh'),
         dict(head_hidden_dims=[7, 2], head_dropout=[0.2, 0.], head_batchnorm=True, head_batchnorm_last=True, head_linear_first=True,
              head_activation='leaky_relu')]

def grid(**values): return [dict(zip(values, v)) for v in product(*values.values())]

BASIC = grid(rnn_type=('lstm', 'gru'), bidirectional=(False, True), use_hidden_state=(True, False))
CASES = dict(BasicRNN=[*BASIC, {**HEADS[5], 'bidirectional': True}],
             AttentiveRNN=[{**case, 'attn_concatenate': o} for case in BASIC for o in (True, False)] +
                          [{**head, 'rnn_type': 'gru', 'bidirectional': True} for head in HEADS])
EACH = [(name, i) for name in NAMES for i in range(len(CASES[name]))]
each_case = pytest.mark.parametrize('name,i', EACH, ids=[f'{name}-{CASES[name][i]}' for name,i in EACH])


def build(module, name, i, **kw): return getattr(module, name)(**SMALL, **CASES[name][i], **kw)

def values(i, name, shape):
    "Weight number `i`, from a formula"
    t = torch.sin(torch.arange(1, np.prod(shape, dtype=int) + 1).double()**2 + i).float().view(shape)
    if name.endswith('num_batches_tracked'): return t.long()
    return t.abs() + 0.5 if name.endswith('running_var') else t

def fill(model):
    "Set every weight and statistic to values that depend only on the position of its name"
    weights = model.state_dict()
    model.load_state_dict({k: values(i, k, list(weights[k].shape)) for i,k in enumerate(sorted(weights))})
    return model

def filled(module, name, i, **kw):
    return fill(build(module, name, i, **kw)).eval()

def embedding_gradient(model):
    "What reaches the embedding, through all other layers"
    (model(TEXTS) * torch.arange(1, model.output_dim + 1)).sum().backward()
    return model.word_embed.weight.grad

def for_json(t): return [for_json(o) for o in t] if t.ndim else float(f'{t.item():.6g}')

def recorded(module, f, names=NAMES): return {name: [f(filled(module, name, i)) for i in range(len(CASES[name]))] for name in names}

def record(module):
    def weights(model):
        model(TEXTS)
        return for_json(model.attention_weights)
    return dict(
        settings=SMALL, cases=CASES, texts=TEXTS.tolist(), padded=PADDED.tolist(),
        shapes=recorded(module, lambda model: {k: list(v.shape) for k,v in model.state_dict().items()}),
        outputs=recorded(module, lambda model: for_json(model(TEXTS))), weights=recorded(module, weights, ['AttentiveRNN']),
        outputs_padded=recorded(module, lambda model: for_json(model(PADDED))),
        gradients=recorded(module, lambda model: for_json(embedding_gradient(model))))


@pytest.fixture(scope='module')
def peer(): return json.loads(RECORD.read_text())

def test_record_is_of_these_cases(peer):
    for k,v in dict(settings=SMALL, cases=CASES, texts=TEXTS.tolist(), padded=PADDED.tolist()).items():
        assert peer[k] == json.loads(json.dumps(v)), f'{k}: record again with python -m tests.test_widedeep_parity'

@each_case
def test_names_and_shapes_recorded(peer, name, i):
    assert peer['shapes'][name][i] == {k: list(v.shape) for k,v in build(ours, name, i).state_dict().items()}
    assert list(peer['shapes'][name][i]) == list(build(ours, name, i).state_dict())                # order, too: optimizers count

@each_case
def test_outputs_recorded(peer, name, i):
    want, model = torch.tensor(peer['outputs'][name][i]), filled(ours, name, i)
    assert (want[0] - want[1]).abs().max() > 1e-3                                                  # the text matters
    assert_close(model(TEXTS), want, atol=1e-5, rtol=0)
    if name == 'AttentiveRNN': assert_close(model.attention_weights, torch.tensor(peer['weights'][name][i]), atol=1e-5, rtol=0)
    assert_close(filled(ours, name, i, mask_padding=False)(TEXTS), want, atol=1e-5, rtol=0)

@each_case
def test_gradients_recorded(peer, name, i):
    assert_close(embedding_gradient(filled(ours, name, i)), torch.tensor(peer['gradients'][name][i]), atol=1e-4, rtol=1e-4)

@each_case
def test_padding_recorded(peer, name, i):
    "`mask_padding=False` reads padding as pytorch-widedeep does; by default it is ignored"
    want = torch.tensor(peer['outputs_padded'][name][i])
    assert_close(filled(ours, name, i, mask_padding=False)(PADDED), want, atol=1e-5, rtol=0)
    model = filled(ours, name, i)
    assert (model(PADDED) - want).abs().max() > 1e-4
    assert_close(model(PADDED)[:1], model(PADDED[:1, 3:]), atol=1e-6, rtol=1e-5)


@pytest.fixture(scope='module')
def widedeep():
    if find_spec('pytorch_widedeep') is None: pytest.skip('needs pytorch-widedeep: pip install pytorch-widedeep==1.7.0')
    shim_torchvision()
    import pytorch_widedeep.models as models
    return models

ALL = [(name, {**case, **head}) for name in NAMES for head in [{}, *HEADS]
       for case in (BASIC if name == 'BasicRNN' else grid(rnn_type=('lstm', 'gru'), bidirectional=(False, True),
                                                          use_hidden_state=(True, False), attn_concatenate=(True, False)))]

def both(widedeep, name, **case):
    torch.manual_seed(0)
    theirs, mine = (getattr(m, name)(**case) for m in (widedeep, ours))
    for n,b in theirs.named_buffers():
        if b.is_floating_point(): b.uniform_(0.5, 2)                                               # as after training
    mine.load_state_dict(theirs.state_dict(), strict=True)
    assert mine.output_dim == theirs.output_dim
    return theirs, mine

@pytest.mark.parametrize('name,case', ALL, ids=str)
def test_checkpoint_loads(widedeep, name, case):
    theirs, mine = both(widedeep, name, **SMALL, **case)
    x, order = random_tokens(5, 11, 7), [n for n,_ in theirs.named_parameters()]
    assert [n for n,_ in mine.named_parameters()] == order
    assert_close(mine.eval()(x), theirs.eval()(x), atol=1e-6, rtol=1e-5)
    if name == 'AttentiveRNN': assert_close(mine.attention_weights, theirs.attention_weights.detach(), atol=1e-6, rtol=1e-5)
    outputs = []
    for model in (mine, theirs):
        torch.manual_seed(1)                                                                       # the same dropout
        outputs.append(model.train()(x))
        outputs[-1].square().sum().backward()
    assert_close(*outputs, atol=1e-5, rtol=1e-4)
    for (n,p),q in zip(mine.named_parameters(), theirs.parameters()): assert_close(p.grad, q.grad, atol=1e-4, rtol=1e-4, msg=n)
    for (n,p),q in zip(mine.named_buffers(), theirs.buffers()): assert_close(p, q, atol=1e-5, rtol=1e-5, msg=n)

@pytest.mark.parametrize('name', NAMES)
def test_defaults_and_pretrained_vectors(widedeep, name):
    vectors, x = np.random.default_rng(0).standard_normal((29, 6), dtype=np.float32), random_tokens(5, 29, 13)
    for case in (dict(embed_dim=6), dict(embed_matrix=vectors), dict(embed_matrix=vectors, embed_trainable=False)):
        theirs, mine = both(widedeep, name, vocab_size=29, **case)
        assert_close(mine.eval()(x), theirs.eval()(x), atol=1e-6, rtol=1e-5)
        assert mine.word_embed.weight.requires_grad == theirs.word_embed.weight.requires_grad
        assert mine.word_embed.padding_idx == theirs.word_embed.padding_idx == 1
        if 'embed_matrix' in case: assert_close(getattr(ours, name)(29, **case).word_embed.weight.detach(), torch.tensor(vectors))

@pytest.mark.parametrize('name', NAMES)
def test_deeptext_of_a_wide_deep_model(widedeep, name):
    "The label of a text is whether token 5 occurs in it"
    from pytorch_widedeep import Trainer
    torch.manual_seed(0)
    x = random_tokens(600, 11, 9, seed=3)
    x[:, :2] = 0                                                                                   # padding before the text
    y = (x == 5).any(1).long().numpy()
    deeptext = getattr(ours, name)(11, embed_dim=8, hidden_dim=16, n_layers=1, rnn_dropout=0., padding_idx=0, head_hidden_dims=[8])
    trainer = Trainer(widedeep.WideDeep(deeptext=deeptext), objective='binary', verbose=0,
                      optimizers=torch.optim.Adam(deeptext.parameters(), 1e-2), seed=1)
    trainer.fit(X_text=x.numpy(), target=y, n_epochs=8, batch_size=32)
    losses = trainer.history['train_loss']
    accuracy = (trainer.predict(X_text=x.numpy()) == y).mean()
    print(name, [round(o, 3) for o in losses], accuracy)
    assert losses[-1] < 0.5 * losses[0] and accuracy > 0.9


if __name__ == '__main__':
    shim_torchvision()
    import pytorch_widedeep.models as models
    made = dict(made_with=f'pytorch-widedeep 1.7.0, torch {torch.__version__}', **record(models))
    RECORD.write_text(json.dumps(made) + '\n')
