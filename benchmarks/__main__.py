"Runs all measurements, and writes a page of tables, a CSV file and a plot"
import os
from pathlib import Path
from time import perf_counter

import torch
from fastcore.script import call_parse

from benchmarks import fit, imports, memory, steps
from benchmarks.common import CELLS, STEPS, machine
from benchmarks.report import page, plot, write_csv


@call_parse
def main(
    path:Path=Path('benchmarks/results'), # directory for the results
    name:str='cpu', # name of the files in it
    threads:int=2, # threads that torch uses
    quick:bool=False, # run for about a minute only: short series, few rounds, no figures to quote
):
    "Compare this library with tsai 1.0.1, and write the results as markdown, CSV and a plot"
    torch.set_num_threads(threads)
    lengths = (24, 60) if quick else (60, 150, 500, 1000)
    plan = dict(
        imports=imports.measure(1 if quick else 5),
        memory=memory.measure(lengths[1:] if quick else lengths, () if quick else (2000, 4000), ('train',) if quick else STEPS, threads),
        epochs=fit.measure(('BasicMotions',) if quick else ('FaceAll', 'NATOPS', 'BasicMotions'), 1 if quick else 5),
        steps=steps.measure(('GRU',) if quick else CELLS, lengths, 2 if quick else 15))
    rows, start = [], perf_counter()
    for part,measured in plan.items():
        for row in measured:
            rows.append(row)
            print(f'{perf_counter()-start:6.0f} s', part, row, flush=True)
    path.mkdir(parents=True, exist_ok=True)
    write_csv(rows, path/f'{name}.csv')
    (path/f'{name}.md').write_text(page(rows, machine(os.cpu_count(), threads)))
    plot(rows, path/f'{name}.png')
    print((path/f'{name}.md').read_text())
