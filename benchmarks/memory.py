"Memory that one step adds, measured in a new process each time (Linux only)"
import re
import subprocess
import sys

import torch
from fastcore.script import call_parse

from benchmarks.common import STEPS, batch, build


def resident(field): return int(re.search(rf'{field}:\s+(\d+)', open('/proc/self/status').read())[1]) * 1024    # bytes

def peak_of(warm_up, work):
    "Bytes by which `work()` raises the peak of resident memory, after `warm_up()`"
    warm_up()
    with open('/proc/self/clear_refs', 'w') as f: f.write('5')           # reset the peak
    before = resident('VmRSS')
    work()
    return resident('VmHWM') - before

def added_peak(library, cell, work, steps):
    "Bytes by which a step raises the peak of resident memory, after imports, model, batch, and a step on series of 8 steps"
    model, xy = build(library, cell, steps), batch(steps)
    return peak_of(lambda: STEPS[work](build(library, cell, 8), *batch(8)), lambda: STEPS[work](model, *xy))

def in_new_process(library, cell, work, steps, threads):
    args = [f'--{k}={v}' for k,v in dict(library=library, cell=cell, work=work, steps=steps, threads=threads).items()]
    out = subprocess.run([sys.executable, '-m', 'benchmarks.memory', *args], check=True, capture_output=True, text=True).stdout
    return dict(work=f'memory {work}', cell=cell, steps=steps, library=library, value=int(out.split()[-1]), rounds=1, unit='B')

def measure(lengths=(60, 150, 500, 1000), long=(2000, 4000), works=tuple(STEPS), threads=2):
    "A GRU model of both libraries at `lengths`, only ours at `long`"
    for work in works:
        for steps in (*lengths, *long):
            for library in ('tsai', 'ours')[steps in long:]: yield in_new_process(library, 'GRU', work, steps, threads)

def scores_bytes(steps, bs=32, n_heads=16): return 4 * bs * n_heads * steps**2     # one float32 [bs, n_heads, sl, sl]

@call_parse
def main(
    library:str='ours', # ours or tsai
    cell:str='GRU', # RNN, LSTM or GRU
    work:str='train', # train or infer
    steps:int=500, # steps in the series
    threads:int=2, # threads that torch uses
):
    "Print how many bytes one step adds"
    torch.set_num_threads(threads)
    print(added_peak(library, cell, work, steps))
