"Seconds of one epoch of `Learner.fit` with validation, each library with its own loaders, on real data"
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from fastcore.script import call_parse

from benchmarks.common import interleave, models, shim_torchvision

ENV = 'TSAI_RNNATTN_DATA'


def find(name):
    "The folder with the two .ts files of `name`: below $TSAI_RNNATTN_DATA, or inside sktime; None where neither has it"
    folders = [Path(os.environ[ENV])] if ENV in os.environ else []
    folders.append(Path(find_spec('sktime').origin).parent/'datasets'/'data')
    return next((f/name for f in folders if (f/name/f'{name}_TRAIN.ts').exists()), None)

def read(folder):
    "`X` [n, c_in, sl], labels, and the rows of each split"
    from sktime.datasets import load_from_tsfile
    parts = [load_from_tsfile(str(folder/f'{folder.name}_{p}.ts'), return_data_type='numpy3d') for p in ('TRAIN', 'TEST')]
    X, y = (np.concatenate(o) for o in zip(*parts))
    n = len(parts[0][0])
    return X.astype(np.float32), y, (list(range(n)), list(range(n, len(X))))

def learner(library, X, y, splits, bs):
    "A GRUAttentionPlus `Learner`: whole training split, standardised by variable, no metrics"
    import fastai.callback.all  # noqa: F401, for no_bar
    from fastai.basics import CrossEntropyLossFlat, Learner
    dls = loaders(library, X, y, splits, bs)
    return Learner(dls, models(library).GRUAttentionPlus(dls.vars, dls.c, dls.len), loss_func=CrossEntropyLossFlat())

def loaders(library, X, y, splits, bs):
    if library == 'ours':
        from tsai_rnnattn.data.loaders import TSDataLoaders
        return TSDataLoaders.from_numpy(X, y, splits, bs=bs, val_bs=bs)
    shim_torchvision()
    from tsai.basics import TSClassification, TSStandardize, get_ts_dls
    return get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(by_var=True), bs=bs, drop_last=False)

def epoch(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4)

def measure(names=('FaceAll', 'NATOPS', 'BasicMotions'), repeats=5, budget=60., bs=64):
    for name in names:
        if (folder := find(name)) is None: continue
        data = read(folder)
        works = {lib: partial(epoch, learner(lib, *data, bs)) for lib in ('tsai', 'ours')}
        for row in interleave(works, repeats, budget): yield dict(work=f'epoch {name}', cell='GRU', steps=data[0].shape[2], **row)

@call_parse
def main(
    name:str='BasicMotions', # a dataset, as the folder below $TSAI_RNNATTN_DATA or in sktime
    repeats:int=5, # epochs of each library
    threads:int=2, # threads of torch
):
    "Print the seconds of an epoch of each library"
    torch.set_num_threads(threads)
    for row in measure((name,), repeats): print(row)
