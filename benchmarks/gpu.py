"Seconds and memory per training and inference step of both libraries on a GPU, by precision, batch size and length"
from contextlib import nullcontext
from functools import partial

import torch

from benchmarks.common import STEPS, batch, build, interleave
from benchmarks.memory import scores_bytes

PRECISIONS = ('float32', 'tf32', 'bf16')
TSAI_MATRICES = 5                                                        # score matrices that its training step holds at once


def precision(name, device):
    "Set the precision of matrix products; returns a context for the step"
    torch.set_float32_matmul_precision('high' if name == 'tf32' else 'highest')
    return torch.autocast(device, torch.bfloat16) if name == 'bf16' else nullcontext()

def run(step, model, xy, name, device):
    "One step, finished before the function returns"
    with precision(name, device): step(model, *xy)
    if device == 'cuda': torch.cuda.synchronize()

def peak(work, device):
    "Bytes by which `work()` raises the peak of the GPU's memory; None on other devices"
    if device != 'cuda': return work()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before

def fits(library, steps, bs, device):
    if library != 'tsai' or device != 'cuda': return True
    return TSAI_MATRICES * scores_bytes(steps, bs) < torch.cuda.mem_get_info()[1]

def measure(device='cuda', cells=('GRU',), lengths=(60, 150, 500, 1000, 2000, 4000), sizes=(32, 256), repeats=15, budget=20.):
    for name in PRECISIONS:
        for bs in sizes:
            for steps in lengths:
                for cell in cells: yield from _measure_setting(dict(precision=name, bs=bs, cell=cell, steps=steps), device, repeats, budget)

def _measure_setting(setting, device, repeats, budget):
    "Time, then memory, of the libraries that fit"
    bs, steps = setting['bs'], setting['steps']
    built = {o: build(o, setting['cell'], steps).to(device) for o in ('tsai', 'ours') if fits(o, steps, bs, device)}
    xy = batch(steps, bs, device)
    for work,step in STEPS.items():
        works = {o: partial(run, step, m, xy, setting['precision'], device) for o,m in built.items()}
        for row in interleave(works, repeats, budget): yield dict(work=work, **setting, **row)
        for o,f in works.items():
            if (value := peak(f, device)): yield dict(work=f'memory {work}', **setting, library=o, value=value, rounds=1, unit='B')
