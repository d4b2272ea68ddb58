"""Predictions for one series, against the model alone; memory and time of series of unequal length.

    .venv/bin/python -m benchmarks.prediction

Both contenders of a row are run in turn, and the row holds the ratio of their medians. Lower is better.
"""
import subprocess
import sys
from ast import literal_eval

import numpy as np
import torch
from fastai.callback.progress import ProgressCallback  # noqa: F401 (gives Learner its no_bar)
from fastai.learner import Learner
from fastcore.script import call_parse

import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
from benchmarks.common import interleave
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.layers.heads import mean_pool_head
from tsai_rnnattn.models import GRUAttentionPlus


def ratio(work, base, rounds, budget=120.):
    "Median time of `work` divided by that of `base`, run in turn"
    work, base = (row['value'] for row in interleave(dict(work=work, base=base), rounds, budget))
    return work / base

def predictions(rounds=100):
    "`get_X_preds` and `predict` of one series `[6, 100]`, as multiples of a call of the model"
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6, 100)).astype(np.float32)
    dls = TSDataLoaders.from_numpy(X, np.arange(60) % 3, (range(40), range(40, 60)), device='cpu')
    learn = Learner(dls, GRUAttentionPlus(6, 3, 100))
    x = torch.tensor(X[:1])
    @torch.no_grad()
    def model(): learn.model.eval()(x)
    with learn.no_bar():
        yield 'get_X_preds of one series, times model(x)', ratio(lambda: learn.get_X_preds(X[:1]), model, rounds)
        yield 'predict of one series, times model(x)', ratio(lambda: learn.predict(X[0]), model, rounds)

def held(dls):
    "Bytes of the series that the loaders hold"
    arrays = {id(a): a for dl in dls.loaders for a in getattr(dl.dataset.X, 'series', [dl.dataset.X])}
    return sum(a.nbytes for a in arrays.values())

def memory():
    "Bytes that loaders hold of one series of 100,000 steps among 1000 of 10 steps, as a multiple of these series"
    series = [np.ones((1, 10), np.float32) for _ in range(1000)] + [np.ones((1, 100_000), np.float32)]
    dls = TSDataLoaders.from_numpy(series, np.zeros(1001), (range(1, 1001), [0]), device='cpu', cut_batches=True)
    yield 'memory of one long series among short ones, times the series', held(dls) / sum(s.nbytes for s in series)

def epochs(rounds=7):
    "An epoch of `GRUAttentionPlus` with batches cut to their longest series, against padded ones, and with batches of like length"
    rng = np.random.default_rng(0)
    lengths = (10 * rng.pareto(1.5, 512)).astype(int).clip(5, 400)        # most are short
    series, y = [rng.normal(size=(3, n)).astype(np.float32) for n in lengths], np.arange(512) % 2
    def epoch(**kw):
        train = TSDataLoaders.from_numpy(series, y, (range(480), range(480, 512)), bs=16, device='cpu', **kw).train
        def run():
            for x,n,t in train: torch.nn.functional.cross_entropy(model(x, n), t).backward()
        return run
    model = GRUAttentionPlus(3, 2, 400, hidden_size=32, encoder_layers=1, custom_head=mean_pool_head)
    padded, cut, like = epoch(), epoch(cut_batches=True), epoch(cut_batches=True, by_length=True)
    yield 'epoch of unequal lengths, cut_batches, times padded', ratio(cut, padded, rounds)
    yield 'epoch of unequal lengths, by_length, times cut_batches', ratio(like, cut, rounds)

TARGETS = {'get_X_preds of one series, times model(x)': (1.8, 1.3), 'predict of one series, times model(x)': (1.8, 1.3),
           'memory of one long series among short ones, times the series': (1.1, 1.)}

def measure(rounds=100):
    for rows in (predictions(rounds), memory(), epochs(max(3, rounds // 15))):
        for work,value in rows:
            least, goal = TARGETS.get(work, ('', ''))
            yield dict(work=work, value=value, target=least, goal=goal, unit='×')

def measure_alone():
    "The rows of `measure` from a new process: tsai, once imported, replaces `Learner.get_X_preds`"
    out = subprocess.run([sys.executable, '-m', 'benchmarks.prediction'], check=True, capture_output=True, text=True).stdout
    return map(literal_eval, out.splitlines())

@call_parse
def main(
    rounds:int=100, # rounds of the predictions
    threads:int=1, # threads that torch uses
):
    "Print a row for each measurement"
    torch.set_num_threads(threads)
    for row in measure(rounds): print(row)
