"Runs all measurements, and writes a page of tables, a CSV file and a plot"
import os
from pathlib import Path
from time import perf_counter

import torch
from fastcore.script import call_parse

from benchmarks import costs, fit, gpu, imports, memory, prediction, reading, serving, steps
from benchmarks.common import CELLS, machine
from benchmarks.report import gpu_page, page, plot, write_csv


def _cpu_plan(quick, threads):
    lengths = (24, 60) if quick else (60, 150, 500)
    return dict(
        imports=imports.measure(1 if quick else 5), serving=() if quick else serving.measure_costs(),
        memory=memory.measure((60,), (), ('train',), threads) if quick else memory.measure((*lengths, 1000), threads=threads),
        epochs=fit.measure(('BasicMotions',) if quick else ('FaceAll', 'NATOPS', 'BasicMotions'), 1 if quick else 5),
        steps=steps.measure(('GRU',) if quick else CELLS, lengths, 2 if quick else 15),
        costs=costs.measure(60, 1000, ('GRU',), 2) if quick else costs.measure(),
        reading=() if quick else reading.measure(), prediction=() if quick else prediction.measure_alone())

def _gpu_plan(quick, device):
    return dict(gpu=gpu.measure(device, lengths=(24,), sizes=(8,), repeats=2) if quick else gpu.measure(device))

def _run(plan):
    "All rows, printed as they come"
    start = perf_counter()
    for part,measured in plan.items():
        for row in measured:
            print(f'{perf_counter()-start:6.0f} s', part, row, flush=True)
            yield row


@call_parse
def main(
    path:Path=Path('benchmarks/results'), # directory for the results
    name:str=None, # name of the files in it; None: cpu or gpu
    device:str='cpu', # cpu, or cuda for a table of precisions, batch sizes and lengths on a GPU
    threads:int=2, # threads that torch uses
    quick:bool=False, # run for about a minute only: short series, few rounds, no figures to quote
):
    "Compare this library with tsai 1.0.1, and write the results as markdown, CSV and a plot"
    torch.set_num_threads(threads)
    path.mkdir(parents=True, exist_ok=True)
    fname, describe = path/(name or ('cpu' if device == 'cpu' else 'gpu')), machine(os.cpu_count(), threads, device)
    rows = list(_run(_cpu_plan(quick, threads) if device == 'cpu' else _gpu_plan(quick, device)))
    write_csv(rows, fname.with_suffix('.csv'))
    fname.with_suffix('.md').write_text((page if device == 'cpu' else gpu_page)(rows, describe))
    if device == 'cpu': plot(rows, fname.with_suffix('.png'))
    print(fname.with_suffix('.md').read_text())
