"""Time of one epoch of the loader, compared with slicing tensors, with torch's `DataLoader` and with fastai's `TfmdDL`.

    .venv/bin/python -m benchmarks.loader

All are timed in turn, in 11 rounds, with one thread, and without transforms unless they are named. The medians are printed in milliseconds
per epoch and as multiples of slicing. Besides slicing, the loader runs fastai's hooks and checks each batch for NaN and infinite values.
Arrays of float64 stay in double precision until they are scaled.
"""
import time
from statistics import median

import numpy as np
import torch
from fastai.data.core import TfmdDL
from torch.utils.data import DataLoader, TensorDataset

from tsai_rnnattn.data.dataset import TSDataset
from tsai_rnnattn.data.loaders import TSDataLoader
from tsai_rnnattn.data.targets import make_targets
from tsai_rnnattn.data.transforms import TSStandardize
from tsai_rnnattn.series import RaggedSeries

SHAPES = ((10_000, 6, 100), (10_000, 1, 24), (10_000, 3, 1000), (2_000, 1, 100))
ROUNDS = 11

class Slicing:
    "The batches of a shuffled epoch, sliced from tensors"
    def __init__(self, X, y, bs): self.X, self.y, self.bs = X, y, bs
    def __iter__(self): return ((self.X[rows], self.y[rows]) for rows in torch.randperm(len(self.X)).split(self.bs))

def contenders(shape, bs=64):
    "Loaders of the same random series and labels, by name"
    X, y = torch.randn(shape), torch.arange(shape[0]) % 5
    labels = y.numpy()
    def ours(X, tfms=(), **kw):
        return TSDataLoader(TSDataset(X, labels, targets=make_targets(labels), **kw), bs, shuffle=True, after_batch=list(tfms))
    lengths = np.random.default_rng(0).integers(1, shape[2] + 1, len(X))
    lengths[0] = shape[2]
    single, double = X.numpy(), X.double().numpy()
    ragged = RaggedSeries([x[:, :n] for x,n in zip(single, lengths)])
    return {'slicing a tensor': Slicing(X, y, bs), 'TSDataLoader': ours(single),
            '  float64': ours(double), '  standardized': ours(single, [TSStandardize()]),
            '  standardized, float64': ours(double, [TSStandardize()]), '  with lengths': ours(single, lengths=lengths),
            '  with lengths, from a list': ours(ragged),
            'torch DataLoader': DataLoader(TensorDataset(X, y), bs, shuffle=True),
            'fastai TfmdDL': TfmdDL(TensorDataset(X, y), bs, shuffle=True, num_workers=0)}

def epoch(loader):
    "Seconds per epoch"
    start = time.perf_counter()
    for b in loader: pass
    return time.perf_counter() - start

def main():
    torch.set_num_threads(1)
    for shape in SHAPES:
        loaders = contenders(shape)
        rounds = [{name: epoch(dl) for name,dl in loaders.items()} for _ in range(ROUNDS + 1)][1:]
        ms = {name: 1000 * median(r[name] for r in rounds) for name in loaders}
        base = ms['slicing a tensor']
        print(f'{shape}: {-(-shape[0] // 64)} batches of 64')
        for name,t in ms.items(): print(f'  {name:<26}{t:9.1f} ms {t / base:6.2f}x')

if __name__ == '__main__': main()
