"What a feature costs, as a multiple of the same work without it: lengths, and causal attention over padded series"
import subprocess
import sys
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from fastcore.script import call_parse

from benchmarks.common import BS, C_IN, C_OUT, CELLS, batch, interleave, models
from benchmarks.memory import peak_of


def draw_lengths(steps):
    "Lengths from half of `steps` to `steps`, one of them `steps`"
    lengths = torch.randint(steps // 2, steps + 1, (BS,), generator=torch.Generator().manual_seed(0))
    lengths[0] = steps
    return lengths

def train_step(model, x, y, *lengths):
    model.zero_grad()
    F.cross_entropy(model.train()(x, *lengths), y).backward()

def lengths_cost(cell, steps, bidirectional, repeats, budget):
    "Seconds of a training step with lengths over those without"
    model, xy = getattr(models('ours'), f'{cell}AttentionPlus')(C_IN, C_OUT, steps, bidirectional=bidirectional), batch(steps)
    works = dict(without=partial(train_step, model, *xy), lengths=partial(train_step, model, *xy, draw_lengths(steps)))
    without, with_lengths = interleave(works, repeats, budget)
    return with_lengths['value'] / without['value']

def causal_peak(steps, lengths, bs=2):
    "Bytes by which an inference step of a causal model raises the peak of resident memory"
    from tsai_rnnattn.layers.heads import last_step_head
    model = models('ours').GRUAttentionPlus(C_IN, C_OUT, steps, causal=True, custom_head=last_step_head)
    def step(n):
        args = (torch.tensor([n, n // 2]),) if lengths else ()
        with torch.inference_mode(): model.eval()(batch(n, bs)[0], *args)
    return peak_of(lambda: step(8), lambda: step(steps))

def causal_cost(steps, rounds=5):
    "Memory of a causal model with lengths over that without, in new processes"
    def run(*flags):
        args = [sys.executable, '-m', 'benchmarks.costs', f'--causal_steps={steps}', *flags]
        return int(subprocess.run(args, check=True, capture_output=True, text=True).stdout.split()[-1])
    return median(run('--lengths') for _ in range(rounds)) / median(run() for _ in range(rounds))

def measure(steps=500, causal_steps=10_000, cells=CELLS, repeats=9, budget=40.):
    "Rows with a `target` and a `goal`; smaller is better"
    bars = dict(target=1.2, goal=1.05, unit='×')
    for both in (False, True):
        for cell in cells:
            name = f'training step with lengths, {cell}, {steps} steps, {"both directions" if both else "one direction"}, times without'
            yield dict(work=name, value=lengths_cost(cell, steps, both, repeats, budget), **bars)
    name = f'added memory of causal inference with lengths, {causal_steps:,} steps, times without'
    yield dict(work=name, value=causal_cost(causal_steps), target=1.2, goal=1., unit='×')

@call_parse
def main(
    causal_steps:int=0, # print the bytes that a causal inference step of this length adds; 0: print all costs
    lengths:bool=False, # with lengths?
    threads:int=2, # threads that torch uses
):
    "Print what features cost"
    torch.set_num_threads(threads)
    if causal_steps: print(causal_peak(causal_steps, lengths))
    else:
        for row in measure(): print(row)
