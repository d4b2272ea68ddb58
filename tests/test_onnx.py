"ONNX files and programs of `torch.export`: every model of the zoo, head and transform, at sizes that tracing has not seen."
import json
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
import torch
from fastai.learner import Learner
from torch import nn
from torch.testing import assert_close

from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.text import TextDataLoaders
from tsai_rnnattn.data.transforms import TSImpute, TSStandardize
from tsai_rnnattn.export import LabelSets, Labels, Numbers, Predictor, as_predictor, save_model
from tsai_rnnattn.layers.heads import attention_pool_head, last_step_head, max_pool_head, mean_pool_head, pool_head, step_head
from tsai_rnnattn.layers.pooling import AdditiveAttentionPool, HardAttentionPool, LocalAttentionPool
from tsai_rnnattn.layers.recurrent import recurrent_steps
from tsai_rnnattn.models import GRUPlus, RNNClassifier
from tsai_rnnattn.models.zoo import build_arch, zoo_models
from tsai_rnnattn.onnx import export_onnx, export_program
from tsai_rnnattn.scaling import Clip, Impute, Normalize, RobustScale, Standardize
from tsai_rnnattn.testing import error_text, random_headlines
from tests.common import series

onnx = pytest.importorskip('onnx', reason='needs onnx, onnxscript and onnxruntime')
pytest.importorskip('onnxscript', reason='needs onnx, onnxscript and onnxruntime')
onnxruntime = pytest.importorskip('onnxruntime', reason='needs onnx, onnxscript and onnxruntime')

ROOT, C_IN, SL, VOCAB = Path(__file__).parents[1], 3, 11, 19

def settled(model):
    "The model with batch norm statistics that differ from those at the start"
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d): m.running_mean.normal_(); m.running_var.uniform_(.5, 2)
    return model

def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])

def batch(predictor, bs, sl, missing=0.):
    "Inputs of a predictor by name; padding holds NaN or an id of its own"
    gen = torch.Generator().manual_seed(bs*sl)
    if predictor.c_in: x = 3 * torch.randn(bs, predictor.c_in, sl, generator=gen) + 1
    else: x = torch.randint(0, VOCAB, (bs, sl), generator=gen)
    if missing: x[torch.rand(x.shape, generator=gen) < missing] = torch.nan
    if not predictor.has_lengths: return dict(x=x)
    lengths = torch.randint(1, sl + 1, (bs,), generator=gen)
    lengths[0], lengths[-1] = sl, sl if bs == 1 else 1
    padded = torch.arange(sl) >= lengths[:, None]
    return dict(x=x.masked_fill(padded if x.ndim == 2 else padded[:, None], VOCAB + 5 if x.ndim == 2 else torch.nan), lengths=lengths)

def check(predictor, tmp_path, missing=0.):
    "The file answers as the predictor does, for other numbers of series and steps than those of the trace; returns the session"
    run = session(export_onnx(predictor, tmp_path/'model.onnx'))
    for bs,sl in product((1, 2, 7), (predictor.seq_len,) if predictor.seq_len else (1, 2, SL, 29)):
        inputs = batch(predictor, bs, sl, missing)
        with torch.no_grad(): want = predictor.eval()(*inputs.values())
        got = torch.from_numpy(run.run(None, {k: v.numpy() for k,v in inputs.items()})[0])
        assert_close(got, want, atol=1e-4, rtol=1e-4)
    return run

def check_program(predictor, tmp_path):
    "So does the program"
    program = torch.export.load(export_program(predictor, tmp_path/'model.pt2')).module()
    for bs,sl in product((1, 2, 7), (predictor.seq_len,) if predictor.seq_len else (1, 2, SL, 29)):
        inputs = batch(predictor, bs, sl).values()
        with torch.no_grad(): assert_close(program(*inputs), predictor.eval()(*inputs), atol=1e-5, rtol=1e-5)


def small(name, seq_len=None, c_in=C_IN, **kw):
    "An untrained model of the zoo"
    arch, text = zoo_models[name], zoo_models[name].reads == 'token ids'
    if seq_len is None and arch.takes('flatten') and 'custom_head' not in kw: kw['flatten'] = False
    sizes = dict(hidden_size=6, hidden_dim=6, encoder_layers=1, n_heads=2, d_ff=5, embed_dim=5)
    torch.manual_seed(0)
    return settled(build_arch(arch, VOCAB if text else c_in, 4, seq_len, **{k: v for k,v in sizes.items() if arch.takes(k)} | kw))

def predictor(name, seq_len=None, has_lengths=True, **kw):
    "A predictor for series or for ids without a tokenizer"
    return Predictor(small(name, seq_len, **kw), c_in=C_IN if zoo_models[name].reads == 'series' else None, has_lengths=has_lengths)

SERIES = [name for name,arch in zoo_models.items() if arch.reads == 'series']
TEXTS = [name for name in zoo_models if name not in SERIES]
GRID = [*product(SERIES, [None], [True], [False]), *product(SERIES, [SL], [False], [True]), *product(TEXTS, [None], [True, False], [True]),
        *product(('GRUAttentionPlus', 'GRUPlus', 'AttentiveRNNPlus'), [None, SL], [True], [True])]

@pytest.mark.parametrize('name,seq_len,has_lengths,bidirectional', GRID)
def test_each_model(tmp_path, name, seq_len, has_lengths, bidirectional):
    p = predictor(name, seq_len, has_lengths, bidirectional=bidirectional)
    check(p, tmp_path)
    check_program(p, tmp_path)

ARGUMENTS = dict(causal=dict(causal=True, norm='layer'), d=dict(d=(2, 3), y_range=(-1, 2), seq_len=SL),
                 d_of_steps=dict(d=SL, flatten=False, seq_len=SL), layers=dict(rnn_layers=2, bias=False))

@pytest.mark.parametrize('name', ARGUMENTS)
def test_arguments(tmp_path, name): check(predictor('LSTMAttentionPlus', **ARGUMENTS[name]), tmp_path)

HEADS = dict(mean=mean_pool_head, max=max_pool_head, attention=attention_pool_head, last=last_step_head, steps=step_head,
             additive=partial(pool_head, AdditiveAttentionPool), local=partial(pool_head, partial(LocalAttentionPool, window=2)),
             hard=partial(pool_head, HardAttentionPool))

@pytest.mark.parametrize('head', HEADS)
def test_heads(tmp_path, head): check(predictor('GRUPlus', custom_head=HEADS[head]), tmp_path)

class Steps(nn.Module):
    "The outputs of a recurrent network at every step"
    def __init__(self, cell, **kw): super().__init__(); self.rnn = cell(C_IN, 5, batch_first=True, **kw)
    def forward(self, x, lengths=None): return recurrent_steps(self.rnn, x.transpose(1, 2), lengths)

CELLS = dict(tanh=nn.RNN, relu=partial(nn.RNN, nonlinearity='relu'), lstm=nn.LSTM, gru=nn.GRU)
OPTIONS = [dict(), dict(bias=False, bidirectional=True), dict(num_layers=2, bidirectional=True), dict(num_layers=3, bias=False)]

@pytest.mark.parametrize('cell,kw', list(product(CELLS, OPTIONS)), ids=str)
def test_recurrent_networks(tmp_path, cell, kw):
    "The file has nodes for the network and its axes alone: the weights are in ONNX's order"
    check(Predictor(Steps(CELLS[cell], **kw), c_in=C_IN, has_lengths=True), tmp_path)
    types = [n.op_type for n in onnx.load(tmp_path/'model.onnx').graph.node]
    assert sum(o in ('RNN', 'LSTM', 'GRU') for o in types) == kw.get('num_layers', 1)
    assert set(types) <= {'RNN', 'LSTM', 'GRU', 'Transpose', 'Reshape', 'Cast'}

FITTED = [Impute(), Impute('mean', indicator=True), Standardize(), Normalize(range=(0, 1)), RobustScale(by_var=[0, 2])]
OWN = [Standardize(by_sample=True, by_var=[0, 2]),
       *(c(by_sample=True, by_var=o) for c in (Standardize, Normalize, RobustScale) for o in (True, False))]

@pytest.mark.parametrize('i', range(len(FITTED + OWN)), ids=lambda i: (FITTED + OWN)[i].name)
def test_transforms(tmp_path, i):
    tfm = (FITTED + OWN)[i]
    tfm.fit([torch.randn(20, C_IN, SL) * torch.tensor([1, 10, 100])[:, None] + 50])
    others = [Clip(-2, 3)] if isinstance(tfm, Impute) else [Clip(-2, 3), Impute('mean', mean=0.)]
    model = small('GRUPlus', c_in=C_IN * (1 + getattr(tfm, 'indicator', False)))
    check(Predictor(model, [tfm, *others], c_in=C_IN, has_lengths=i % 2 == 0), tmp_path, missing=.3)

def test_a_model_alone(tmp_path):
    for name in ('GRUPlus', 'AttentiveRNN'):
        run = session(export_onnx(small(name), tmp_path/'m.onnx'))
        assert [o.name for o in run.get_inputs()] == ['x', 'lengths'] and [o.name for o in run.get_outputs()] == ['outputs']
        inputs = batch(predictor(name), 3, 7)
        with torch.no_grad(): want = small(name).eval()(*inputs.values())
        assert_close(torch.tensor(run.run(None, {k: v.numpy() for k,v in inputs.items()})[0]), want, atol=1e-4, rtol=1e-4)

OUTPUTS = {'labels': Labels(list('abcd')), 'sets of labels': LabelSets(list('abcd')), 'outputs': None,
           'numbers': Numbers([1, 20, 300, 4], [5, 6, 7, 8], 'float64')}

@pytest.mark.parametrize('kind', OUTPUTS)
def test_outputs(tmp_path, kind):
    outputs, output = OUTPUTS[kind], 'probabilities' if 'labels' in kind else kind
    p = Predictor(small('GRUPlus'), outputs=outputs, c_in=C_IN)
    run = check(p, tmp_path)
    about = {k: json.loads(v) for k,v in run.get_modelmeta().custom_metadata_map.items()}
    files = dict.fromkeys((f'{k}.json' for k in about), '')
    torch.export.load(export_program(p, tmp_path/'model.pt2'), extra_files=files)
    assert {k: json.loads(files[f'{k}.json']) for k in about} == about
    assert about['kind'] == kind and about['c_in'] == C_IN and about['seq_len'] is None and about['lengths'] is False
    assert about['labels'] == (list('abcd') if output == 'probabilities' else None)
    assert [o.name for o in run.get_outputs()] == [output]

def learners():
    x, rng = series(20, C_IN, SL), np.random.default_rng(0)
    x[torch.rand(x.shape) < .2] = torch.nan
    ragged = [o[:, :n] for o,n in zip(x.numpy(), rng.integers(1, SL + 1, 20))]
    targets = ['yes', 'no'] * 10, rng.normal(1000, 50, (20, 2)), rng.random((20, 3)) < .5
    for X,y in zip((x, ragged, x), targets):
        dls = TSDataLoaders.from_numpy(X, y, standardize_y=X is ragged, batch_tfms=[TSImpute(), TSStandardize()], seed=0)
        yield Learner(dls, GRUPlus(C_IN, dls.c, hidden_size=5)), X
    texts, topics = random_headlines(40)
    dls = TextDataLoaders.from_lists(texts, topics, seed=0)
    yield Learner(dls, RNNClassifier(dls.vocab_size, dls.c, embed_dim=5, hidden_size=5)), texts

@pytest.mark.parametrize('i', range(4), ids=('labels', 'numbers', 'sets', 'texts'))
def test_a_learner_and_its_folder(tmp_path, i):
    "The file has the predictions of `get_X_preds`, and is the same from a folder of `save_model`"
    learn, X = [*learners()][i]
    run, p = session(export_onnx(learn, tmp_path/'m.onnx')), as_predictor(learn)
    with learn.no_bar(): want = learn.get_X_preds(X)[0]
    lengths = np.array([o.shape[-1] for o in (p.encoder(X) if p.encoder else X)])
    rows = [np.asarray(o) for o in (p.encoder(X) if p.encoder else X)]
    x = np.stack([np.pad(o, [(0, 0)] * (o.ndim - 1) + [(0, max(lengths) - o.shape[-1])]) for o in rows])
    inputs = dict(x=x.astype(np.int64 if p.encoder else np.float32), lengths=lengths)
    got = run.run(None, {o.name: inputs[o.name] for o in run.get_inputs()})[0]
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=1e-4)
    export_onnx(save_model(learn, tmp_path/'saved'), tmp_path/'other.onnx')
    assert (tmp_path/'other.onnx').read_bytes() == (tmp_path/'m.onnx').read_bytes()

def test_the_predictor_of_the_notebook_needs_no_torch(tmp_path):
    learn, X = next(learners())
    path = export_onnx(learn, tmp_path/'model.onnx')
    with learn.no_bar(): probs, _, labels = learn.get_X_preds(X)
    cells = [''.join(c['source']) for c in json.loads((ROOT/'nbs'/'47_onnx.ipynb').read_text())['cells']]
    at = next(i for i,c in enumerate(cells) if c.startswith('class OnnxPredictor'))
    assert len([line for line in (cells[at - 1] + '\n' + cells[at]).splitlines() if line]) <= 20
    np.save(tmp_path/'X.npy', np.asarray(X))
    code = f"""{cells[at - 1]}\n{cells[at]}
server = OnnxPredictor({str(path)!r})
labels, probs = server.predict(np.load({str(tmp_path/'X.npy')!r}))
import sys
print(json.dumps([labels.tolist(), probs.tolist(), [o for o in ('torch', 'fastai', 'tsai_rnnattn', 'onnx') if o in sys.modules]]))"""
    got = json.loads(subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert got[0] == list(labels) and got[2] == []
    np.testing.assert_allclose(got[1], probs, atol=1e-4)

def test_a_program_runs_in_a_process_that_imports_the_operator(tmp_path):
    path = export_program(predictor('LSTMPlus'), tmp_path/'m.pt2')
    code = f"import torch, sys, tsai_rnnattn.layers.recurrent\np = torch.export.load({str(path)!r}).module()\n" \
           f"print(list(p(torch.zeros(2, {C_IN}, 17), torch.tensor([17, 1])).shape), 'fastai' in sys.modules)"
    run = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.strip() == '[2, 4] False'

def test_files_hold_no_paths_and_little_beside_the_weights(tmp_path):
    model = small('LSTMPlus', hidden_size=64, n_layers=2, bidirectional=True)
    data = export_onnx(Predictor(model, c_in=C_IN), tmp_path/'m.onnx').read_bytes()
    assert b'.py' not in data and str(ROOT).encode() not in data
    assert len(data) < 4 * sum(p.numel() for p in model.parameters()) + 8000
    assert [o.name for o in tmp_path.iterdir()] == ['m.onnx']

def test_the_model_stays_as_it_was(tmp_path, recwarn):
    model = small('GRUAttentionPlus', SL, custom_head=attention_pool_head).train()
    before = {k: v.clone() for k,v in model.state_dict().items()}
    export_onnx(model, tmp_path/'m.onnx')
    export_program(model, tmp_path/'m.pt2')
    assert all(m.training for m in model.modules()) and all(torch.equal(v, model.state_dict()[k]) for k,v in before.items())
    assert not recwarn.list

class Branch(nn.Module):
    def forward(self, x): return x if x.sum() > 0 else -x

class RunningMaximum(nn.Module):
    def forward(self, x): return x.cummax(-1).values

class EachStep(nn.Module):
    def forward(self, x): return torch.stack([x[..., k] for k in range(x.shape[-1])], -1)

def with_layer(layer): return Predictor(nn.Sequential(layer, small('GRUPlus')), c_in=C_IN)

@pytest.mark.parametrize('export', [export_onnx, export_program])
def test_errors(tmp_path, export):
    def error(model, fname='m'): return error_text(lambda: export(model, tmp_path/fname))
    assert 'ValueError: torch.export failed in Branch (model.0): Could not guard' in error(with_layer(Branch()))
    assert 'needs an attribute `seq_len`' in error(with_layer(EachStep()))
    assert 'stateful=True' in error(small('GRUPlus', stateful=True))
    assert 'must be a file in a folder that exists' in error(predictor('GRUPlus'), 'no/m')
    assert 'must be a file in a folder that exists' in error(predictor('GRUPlus'), '.')
    assert 'TypeError: expected a Learner' in error(None)
    assert 'ValueError' in error(nn.Linear(3, 5))
    assert not list(tmp_path.iterdir())

def test_an_operator_that_onnx_lacks(tmp_path):
    with pytest.raises(ValueError, match=r'ONNX failed in RunningMaximum \(model.0\): No ONNX function .*cummax.*use other functions') as e:
        export_onnx(with_layer(RunningMaximum()), tmp_path/'m.onnx')
    assert isinstance(e.value.__cause__, torch.onnx.errors.OnnxExporterError)
    export_program(with_layer(RunningMaximum()), tmp_path/'m.pt2')

def test_a_layer_with_a_fixed_number_of_steps(tmp_path):
    layer = EachStep()
    layer.seq_len = SL
    check(with_layer(layer), tmp_path)
    check_program(with_layer(layer), tmp_path)

def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = export_onnx(predictor('GRUPlus'), tmp_path/'m.onnx')
    old = path.read_bytes()
    with pytest.raises(ValueError): export_onnx(with_layer(RunningMaximum()), path)
    assert path.read_bytes() == old and len(list(tmp_path.iterdir())) == 1

def test_missing_packages(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(ImportError, match=r"pip install 'tsai_rnnattn\[onnx\]'"): export_onnx(predictor('GRUPlus'), tmp_path/'m.onnx')
