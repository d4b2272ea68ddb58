"""The table nbs/tutorials/tsai_names.csv is true: our names exist and our lines run; where tsai is installed, so do its names."""
import ast
import csv
import inspect
import pkgutil
from contextlib import suppress
from copy import deepcopy
from functools import partial, reduce
from importlib import import_module, reload
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import sklearn.calibration
import sklearn.metrics
import sklearn.model_selection
import sktime.datasets
from matplotlib import pyplot as plt

import tsai_rnnattn.all as ours  # before tsai, which adds methods to Learner as well
import tsai_rnnattn.models
from tests.common import learner_restored

matplotlib.use('agg')
TABLE = Path(__file__).parents[1]/'nbs'/'tutorials'/'tsai_names.csv'
ROWS = list(csv.DictReader(TABLE.open(newline='', encoding='utf-8')))
IDS = [f"{k}-{o['tsai']}" for k,o in enumerate(ROWS)]

def find(module, name): return reduce(getattr, name.split('.'), module)

def calls(line):
    "The calls in a line of Python: what is called, as source, and the node"
    return [(ast.unparse(o.func), o) for o in ast.walk(ast.parse(line)) if isinstance(o, ast.Call)]

def bind(f, call):
    "Raise `TypeError` unless the arguments of a call fit the signature of `f`, or of its `__init__`, which fastai's metaclasses hide"
    f, first = (f.__init__, [None]) if inspect.isclass(f) else (f, [])
    inspect.signature(f).bind(*first, *call.args, **{k.arg: k.value for k in call.keywords})

def test_table():
    assert list(ROWS[0]) == ['topic', 'tsai', 'tsai_line', 'ours', 'line', 'note']
    assert 70 <= len(ROWS) and {o['topic'] for o in ROWS} == {'Data', 'Loaders', 'Transforms', 'Models', 'Learner', 'Plots'}
    for o in ROWS:
        assert o['tsai'].split('.')[-1] in o['tsai_line'], o
        assert o['ours'] != 'none' or o['line'] or o['note'] or o['topic'] in ('Learner', 'Plots'), o
        ast.parse(o['tsai_line'])

@pytest.mark.parametrize('row', [o for o in ROWS if o['ours'] != 'none'], ids=lambda o: o['tsai'])
def test_our_names_exist_and_are_in_our_line(row):
    for name in row['ours'].split(', '): assert find(ours, name)
    assert any(name.split('.')[-1] in row['line'] for name in row['ours'].split(', '))

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "What the lines refer to, and a directory for their files"
    ours.set_seed(0)
    X_train, y_train, X_test, y_test = ours.get_UCR_data('BasicMotions')
    X, y, splits = ours.get_UCR_data('BasicMotions', split_data=False)
    path = tmp_path_factory.mktemp('names')
    dls = ours.TSDataLoaders.from_numpy(X, y, splits, path=path)
    model = ours.GRUAttentionPlus(dls.vars, dls.c, dls.len, hidden_size=8, n_heads=2, encoder_layers=1)
    learn = ours.Learner(dls, model, metrics=ours.accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    learn.export('model.pkl')
    np.save(path/'X.npy', X)
    train = ours.TSDataset(X, y, splits[0])
    df = pd.DataFrame(dict(id=np.repeat(range(20), 5), a=np.random.rand(100), b=np.random.rand(100), y=np.repeat(['p', 'q']*10, 5)))
    valid = ours.TSDataset(X, train.y, splits[1], train.targets)
    return path, dict(vars(ours), X=X, y=y, splits=splits, X_train=X_train, y_train=y_train, X_test=X_test, y_test=y_test, dls=dls,
        model=model, other=deepcopy(model), learn=learn, df=df, train=train, valid=valid, path='X.npy', X2d=X[:, 0], a=X[0],
        b=X[1][:, :30], ts=np.random.rand(50, 2), np=np, pd=pd, sklearn=sklearn, sktime=sktime, tsai_rnnattn=tsai_rnnattn)

@pytest.mark.parametrize('row', [o for o in ROWS if o['line']], ids=lambda o: o['tsai'])
def test_our_line_runs(row, trained, monkeypatch):
    path, names = trained
    monkeypatch.chdir(path)
    with names['learn'].no_bar(): exec(row['line'], dict(names))
    plt.close('all')


def modules(package):
    "The modules of a package whose own imports are installed"
    for info in pkgutil.walk_packages(package.__path__, f'{package.__name__}.', onerror=lambda name: None):
        with suppress(ImportError): yield import_module(info.name)

@pytest.fixture(scope='module')
def tsai():
    "Everything that tsai defines, as attributes; the main imports last, as in `from tsai.basics import *`"
    if not find_spec('tsai'): pytest.skip('tsai is not installed')
    from benchmarks.common import shim_torchvision
    shim_torchvision()
    with learner_restored():
        for o in 'learner', 'inference', 'analysis': reload(import_module(f'tsai.{o}'))  # another test may have imported and undone them
        found = [vars(m) for m in modules(import_module('tsai'))]
        yield SimpleNamespace(**{k: v for o in [*found, vars(import_module('tsai.basics'))] for k,v in o.items()})

@pytest.mark.parametrize('row', ROWS, ids=IDS)
def test_tsai_has_the_name_and_takes_the_arguments(row, tsai):
    if row['tsai'] == 'TSToGASF' and not hasattr(tsai, 'TSToGASF'): pytest.skip('pyts is not installed')
    f = find(tsai, row['tsai'])
    for called,call in calls(row['tsai_line']):
        if called == row['tsai']: bind(f, call)
        elif row['tsai'] == f"Learner.{called.removeprefix('learn.')}": bind(partial(f, None), call)         # a method
