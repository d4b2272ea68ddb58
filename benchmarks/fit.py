"Seconds of one epoch of `Learner.fit` with validation, each library with its own loaders, on real data"
from functools import partial

import torch
from fastcore.script import call_parse

from benchmarks.common import interleave, models, shim_torchvision
from tsai_rnnattn.data.archives import get_UCR_data, list_datasets

def learner(library, X, y, splits, bs):
    "A `Learner` with GRUAttentionPlus: whole training split, standardized by variable, no metrics"
    import fastai.callback.all  # noqa: F401, for no_bar
    from fastai.basics import CrossEntropyLossFlat, Learner
    dls = loaders(library, X, y, splits, bs)
    return Learner(dls, models(library).GRUAttentionPlus(dls.vars, dls.c, dls.len), loss_func=CrossEntropyLossFlat())

def loaders(library, X, y, splits, bs):
    "Loaders of the library itself"
    if library == 'ours':
        from tsai_rnnattn.data.loaders import TSDataLoaders
        return TSDataLoaders.from_numpy(X, y, splits, bs=bs, val_bs=bs)
    shim_torchvision()
    from tsai.basics import TSClassification, TSStandardize, get_ts_dls
    return get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(by_var=True), bs=bs, drop_last=False)

def epoch(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-4)

def measure(names=('FaceAll', 'NATOPS', 'BasicMotions'), repeats=5, budget=60., bs=64):
    here = set(list_datasets().name)                                       # downloads nothing
    for name in names:
        if name not in here: continue
        data = get_UCR_data(name, split_data=False)
        works = {lib: partial(epoch, learner(lib, *data, bs)) for lib in ('tsai', 'ours')}
        for row in interleave(works, repeats, budget): yield dict(work=f'epoch {name}', cell='GRU', steps=data[0].shape[2], **row)

@call_parse
def main(
    name:str='BasicMotions', # a dataset in a directory of $TSAI_RNNATTN_DATA or in sktime
    repeats:int=5, # epochs per library
    threads:int=2, # threads that torch uses
):
    "Print the seconds per epoch for each library"
    torch.set_num_threads(threads)
    for row in measure((name,), repeats): print(row)
