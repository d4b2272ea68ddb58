"Seconds per training and inference step of both libraries and the floor, run in turn"
from functools import partial

import torch
from fastcore.script import call_parse

from benchmarks.common import CELLS, STEPS, batch, build, interleave


def measure(cells=CELLS, lengths=(60, 150, 500, 1000), repeats=15, budget=20.):
    for steps in lengths:
        xy = batch(steps)
        for cell in cells:
            built = {lib: build(lib, cell, steps) for lib in ('tsai', 'ours', 'floor')}
            for work,step in STEPS.items():
                for row in interleave({lib: partial(step, m, *xy) for lib,m in built.items()}, repeats, budget):
                    yield dict(work=work, cell=cell, steps=steps, **row)

@call_parse
def main(
    cell:str='GRU', # RNN, LSTM or GRU
    steps:int=150, # steps in the series
    repeats:int=15, # rounds
    threads:int=2, # threads that torch uses
):
    "Print the seconds per step for one kind of model"
    torch.set_num_threads(threads)
    for row in measure((cell,), (steps,), repeats): print(row)
