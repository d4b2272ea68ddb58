"""Checkpoints of tsai 1.0.1 load with strict=True, and the outputs are the same, for RNNAttentionPlus, RNNPlus, RNN, and their LSTM and GRU
versions.

The tests of what was recorded need no tsai: tsai_1.0.1_outputs.json holds the names and shapes of tsai's weights, and tsai's outputs. To
record it again, in an environment with tsai: `python -m tests.test_tsai_parity`. The other tests compare with tsai itself, in that
environment. The page nbs/explanations/tsai.ipynb loads a checkpoint made from this record."""
import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from benchmarks.common import models, shim_torchvision
from tests import common
from tsai_rnnattn.models import rnn as ours_rnn
from tsai_rnnattn.models import rnn_attention as ours

NAMES = ('RNNAttentionPlus', 'LSTMAttentionPlus', 'GRUAttentionPlus')
SMALL = {**common.SMALL, 'encoder_layers': 2, 'encoder_dropout': 0.}
CASES = [dict(), dict(rnn_layers=2, bidirectional=True), dict(bias=False, act='relu', fc_dropout=0.3), dict(n_heads=3, d_k=5, d_v=3),
         dict(y_range=(-1, 3)), dict(d=5), dict(d=(3,5), fc_dropout=0.1), dict(d=7, flatten=False), dict(d=4, use_bn=False)]
RECORD = Path(__file__).parent/'tsai_1.0.1_outputs.json'


def build(module, name, case, c_in=3, c_out=2, seq_len=7): return getattr(module, name)(c_in, c_out, seq_len, **{**SMALL, **case})

def values(i, shape): return 0.3 * torch.sin(0.7*torch.arange(torch.Size(shape).numel()) + i).view(torch.Size(shape))

def fill(model):
    "Set every parameter and statistic to values that depend only on the position of its name"
    for i,(name,t) in enumerate(sorted(model.state_dict().items())):
        new = values(i, t.shape)
        if t.is_floating_point(): t.copy_(new.abs() + 0.5 if name.endswith('running_var') else new)
    return model

def batch(): return torch.sin(torch.arange(2*3*7).float()).view(2, 3, 7)                     # [bs, c_in, sl]

def outputs(module):
    with torch.no_grad(): return {name: [fill(build(module, name, case)).eval()(batch()).tolist() for case in CASES] for name in NAMES}

def shapes(module):
    "The names and shapes of the weights at `SMALL`, the first of `CASES`"
    return {name: {k: list(v.shape) for k,v in build(module, name, {}).state_dict().items()} for name in NAMES}


@pytest.mark.parametrize('i', range(len(CASES)), ids=lambda i: str(CASES[i]))
@pytest.mark.parametrize('name', NAMES)
def test_outputs_recorded_from_tsai(name, i):
    record = json.loads(RECORD.read_text())
    want = torch.tensor(record['outputs'][name][i])
    with torch.no_grad(): got = fill(build(ours, name, CASES[i])).eval()(batch())
    assert record['cases'][i] == json.loads(json.dumps(CASES[i]))
    assert want.std() > 1e-3                                                                  # outputs are not constant
    assert_close(got, want, atol=1e-5, rtol=0)


def test_names_and_shapes_recorded_from_tsai():
    record = json.loads(RECORD.read_text())
    assert record['settings'] == SMALL
    assert record['shapes'] == shapes(ours)


@pytest.fixture(scope='module')
def tsai():
    if find_spec('tsai') is None: pytest.skip('needs tsai: pip install tsai==1.0.1')
    return models('tsai')

@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('name', NAMES)
def test_tsai_checkpoint_loads(tsai, name, case):
    torch.manual_seed(0)
    theirs, mine = build(tsai, name, case), build(ours, name, case)
    for n,b in theirs.named_buffers():
        if b.is_floating_point(): b.uniform_(0.5, 2)                                          # as after training
    mine.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(5, 3, 7)
    assert_close(mine.eval()(x), theirs.eval()(x), atol=1e-5, rtol=0)
    if 'fc_dropout' in case: return                                                           # random in training
    a, b = mine.train()(x), theirs.train()(x)                                                 # batch norm with the batch's statistics
    assert_close(a, b, atol=1e-5, rtol=0)
    for loss in (a.square().sum(), b.square().sum()): loss.backward()
    for (n,p),q in zip(mine.named_parameters(), theirs.parameters()): assert_close(p.grad, q.grad, atol=1e-4, rtol=1e-4, msg=n)
    for (n,p),q in zip(mine.named_buffers(), theirs.buffers()): assert_close(p, q, atol=1e-5, rtol=1e-5, msg=n)


@pytest.mark.parametrize('name', NAMES)
def test_tsai_defaults(tsai, name):
    theirs, mine = (getattr(m, name)(9, 2, 60) for m in (tsai, ours))
    mine.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(32, 9, 60)
    assert_close(mine.eval()(x), theirs.eval()(x), atol=1e-5, rtol=0)


# Recurrent models without attention. Their names in checkpoints differ from ours for RNN, LSTM and GRU.
RNN_CASES = {'Plus': [dict(), dict(hidden_size=[8, 5]), dict(hidden_size=[8, 5], rnn_dropout=0.2), dict(n_layers=2, bidirectional=True),
                      dict(bias=False, fc_dropout=0.3), dict(last_step=False), dict(last_step=False, fc_dropout=0.1, y_range=(-1, 3))],
             '': [dict(), dict(n_layers=3, bidirectional=True, fc_dropout=0.2), dict(bias=False)]}
RNN_CASES = [(cell + plus, case) for plus,cases in RNN_CASES.items() for cell in ('RNN', 'LSTM', 'GRU') for case in cases]
each_rnn = pytest.mark.parametrize('i', range(len(RNN_CASES)), ids=lambda i: f'{RNN_CASES[i][0]}-{RNN_CASES[i][1]}')

def build_rnn(module, name, case):
    sizes = (3, 2) if module.__name__ == 'tsai.models.RNN' else (3, 2, 7)                     # tsai's RNN takes no seq_len
    return getattr(module, name)(*sizes, **{'hidden_size': 8, **case})

def tsai_rnn(i):
    shim_torchvision()
    return build_rnn(import_module(f"tsai.models.{'RNNPlus' if 'Plus' in RNN_CASES[i][0] else 'RNN'}"), *RNN_CASES[i])

def our_rnn(i): return build_rnn(ours_rnn, *RNN_CASES[i])

def rnn_record(i):
    "The names and shapes of tsai's weights, and the outputs with the weights of `fill`"
    model = fill(tsai_rnn(i)).eval()
    with torch.no_grad():
        return dict(case=RNN_CASES[i], shapes={k: list(v.shape) for k,v in model.state_dict().items()}, outputs=model(batch()).tolist())

@each_rnn
def test_recurrent_outputs_recorded_from_tsai(i):
    record = json.loads(RECORD.read_text())['recurrent'][i]
    assert record['case'] == json.loads(json.dumps(RNN_CASES[i]))
    model = our_rnn(i).eval()
    model.load_state_dict({name: values(k, shape) for k,(name,shape) in enumerate(sorted(record['shapes'].items()))}, strict=True)
    with torch.no_grad(): got = model(batch())
    assert torch.tensor(record['outputs']).std() > 1e-3
    assert_close(got, torch.tensor(record['outputs']), atol=1e-5, rtol=0)

@each_rnn
def test_tsai_checkpoint_of_a_recurrent_model_loads(tsai, i):
    theirs, mine, x = tsai_rnn(i), our_rnn(i), torch.randn(5, 3, 7)
    mine.load_state_dict(theirs.state_dict(), strict=True)
    assert_close(mine.eval()(x), theirs.eval()(x), atol=1e-6, rtol=0)
    if RNN_CASES[i][0].endswith('Plus'): theirs.load_state_dict(mine.state_dict(), strict=True)


if __name__ == '__main__':
    made = dict(made_with=f'tsai 1.0.1, torch {torch.__version__}', settings=SMALL, shapes=shapes(models('tsai')), cases=CASES,
                outputs=outputs(models('tsai')), recurrent=[rnn_record(i) for i in range(len(RNN_CASES))])
    RECORD.write_text(json.dumps(made) + '\n')
