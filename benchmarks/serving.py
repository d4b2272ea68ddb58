"""What a process costs that answers with a trained model: a fastai Learner, `load_model`, and an ONNX file in onnxruntime.

    .venv/bin/python -m benchmarks.serving

Each measurement is a process of its own with one thread; the ways are run in turn. Writes `serving.md` and `serving.csv`. Lower is better.
"""
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from fastai.learner import Learner
from fastcore.script import call_parse

from benchmarks.common import BS, C_IN, C_OUT, machine
from benchmarks.report import goal_line, show, table
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.transforms import TSStandardize
from tsai_rnnattn.export import save_model
from tsai_rnnattn.models import GRUAttentionPlus, GRUPlus
from tsai_rnnattn.onnx import export_onnx

STEPS = 144
WAYS = dict(learner='Learner', folder='load_model', onnx='ONNX')
TIMES = 'import', 'load', 'first answer', 'one series', '32 series'
MEMORY = 'memory after import', 'memory after load', 'memory after answers'
PREDICT = 'one series, predict'


def write(path, model):
    "The same model in each form, and series"
    X = np.random.default_rng(0).normal(size=(2*BS, C_IN, STEPS)).astype(np.float32)
    splits = range(BS), range(BS, 2*BS)
    dls = TSDataLoaders.from_numpy(X, np.arange(2*BS) % C_OUT, splits, bs=BS, batch_tfms=TSStandardize(), device='cpu')
    learn = Learner(dls, model(C_IN, C_OUT, STEPS))
    learn.export(path/'learner.pkl')
    export_onnx(save_model(learn, path/'model'), path/'model.onnx')
    np.save(path/'X.npy', X[:BS])

def process(path, way, repeats):
    "The figures of a process that answers in one way"
    command = [sys.executable, '-W', 'ignore', '-m', 'benchmarks.servers', path, way, str(repeats)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    return json.loads(done.stdout)

def check(figures):
    "Raise `AssertionError` unless all ways answer the same, and ONNX without torch"
    answers = [o['answers'] for way,o in figures.items() if way != 'nothing']
    for o in answers: np.testing.assert_allclose(o, answers[0], atol=1e-4)
    assert not {'torch', 'fastai', 'pandas', 'onnx', 'tsai_rnnattn'} & {*figures['onnx']['packages']}
    assert not {'fastai', 'pandas', 'sktime', 'sklearn', 'matplotlib', 'onnx'} & {*figures['folder']['packages']}

def measure(rounds=7, repeats=50, models=(GRUAttentionPlus, GRUPlus)):
    "A row for each figure of each process"
    for model in models:
        with TemporaryDirectory() as path:
            write(Path(path), model)
            for i in range(rounds):
                figures = {way: process(path, way, repeats) for way in (*WAYS, 'nothing')}
                check(figures)
                for way,o in figures.items():
                    works = [k for k in (*TIMES, PREDICT, *MEMORY) if k in o]
                    yield from (dict(model=model.__name__, way=way, round=i, work=k, value=o[k]) for k in works)


class Figures:
    "Medians of rows of `measure`, and medians of the ratios within each round"
    def __init__(self, rows): self.df = pd.DataFrame(rows).set_index(['model', 'way', 'work', 'round'])['value'].sort_index()
    def value(self, model, way, work): return median(self.df[model, way, work])
    def ratio(self, model, work, way, base='folder', base_work=None):
        return median(self.df[model, way, work] / self.df[model, base, base_work or work])

def costs(rows):
    "Rows for the table of costs of the whole benchmark"
    figures, model = Figures(rows), rows[0]['model']
    imports = figures.ratio(model, 'import', 'folder', 'nothing')
    yield dict(work='import of tsai_rnnattn.export and safetensors, times torch', value=imports, target=1.2, goal=1.1, unit='×')
    for work in ('one series', '32 series', 'memory after answers'):
        for way in ('learner', 'onnx'):
            value = figures.ratio(model, work, way)
            yield dict(work=f'{work}, {model}, {WAYS[way]}, times load_model', value=value, target='', goal='', unit='×')

def measure_costs():
    "The rows of `costs` for one model"
    yield from costs(list(measure(5, models=[GRUAttentionPlus])))


def model_table(figures, model):
    def line(work):
        unit, scale, digits = ('MB', 1e-6, 0) if work in MEMORY else ('s', 1, 2) if work == 'import' else ('ms', 1e3, 1)
        values = [f'{figures.value(model, way, work) * scale:.{digits}f}' for way in WAYS]
        return [f'{work}, {unit}', *values, *(show(figures.ratio(model, work, way)) for way in ('learner', 'onnx'))]
    return table(['', *WAYS.values(), 'Learner / load_model', 'ONNX / load_model'], map(line, TIMES + MEMORY))

def predict_text(figures, model):
    ms = figures.value(model, 'learner', PREDICT) * 1e3
    ratio = figures.ratio(model, PREDICT, 'learner', base_work='one series')
    return f"fastai's `predict` of one series takes {ms:.1f} ms, {show(ratio)} times as long as `load_model`."

def page(rows, machine):
    "The results as markdown"
    figures, models = Figures(rows), list(dict.fromkeys(r['model'] for r in rows))
    rounds, imports = 1 + max(r['round'] for r in rows), next(costs(rows))
    torch = [figures.value(models[0], 'nothing', o) for o in ('import', 'memory after import')]
    parts = ['# What an answer costs', '\n'.join(f'- {o}' for o in machine),
             f'''A model of {C_IN} variables, {STEPS} steps and {C_OUT} classes with standardized series, in each form that it can be saved
in: `learn.export`, read by `load_learner` and asked by `get_X_preds`; `save_model`, read by `load_model` and asked by
`predict_proba`; `export_onnx`, run by onnxruntime in a process that has numpy and onnxruntime alone. Each is a process of its own
with one thread. The figures are medians of {rounds} processes of each kind, run in turn, and a ratio is the median of the ratios
in each turn. All forms answer the same, within 1e-4.''',
             f'''`import` does not count the start of Python. `first answer` is that for one series right after loading, `one series` and
`32 series` are later ones. Memory is all that is resident, of which processes can share the code of libraries. torch alone takes
{torch[0]:.2f} s to import, and {torch[1]/1e6:.0f} MB.''',
             table(['work', 'measured', 'at most', 'goal', ''], [goal_line(imports['work'], imports['value'], '<1.2', '<1.1')])]
    for model in models: parts += [f'## {model}', model_table(figures, model), predict_text(figures, model)]
    return '\n\n'.join(parts) + '\n'

@call_parse
def main(
    path:Path=Path('benchmarks/results'), # directory for the results
    rounds:int=7, # processes of each kind
    repeats:int=50, # answers for one series in each process
):
    "Measure all ways, and write the results as markdown and CSV"
    rows = []
    for row in measure(rounds, repeats):
        print(row, flush=True)
        rows.append(row)
    pd.DataFrame(rows).to_csv(path/'serving.csv', index=False)
    packages = 'tsai_rnnattn', 'torch', 'safetensors', 'onnxruntime', 'onnx', 'fastai', 'numpy'
    (path/'serving.md').write_text(page(rows, machine(os.cpu_count(), 1, packages=packages)))
    print((path/'serving.md').read_text())
