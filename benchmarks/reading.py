"""Time to turn a long data frame into series, and to read `.ts` files, relative to plain code that does the same.

    .venv/bin/python -m benchmarks.reading

A frame of 1e6 rows is compared with pandas' sort and groupby, and the arrays collected from it, in 16 cases: 10,000 series of 100 steps or
100 of 10,000, integers or text as ids and labels, rows in order or shuffled, with and without a time column. A data set is compared with a
loop over its lines that converts each value with `float`. Both are timed in turn; a value is the median of the ratios of all rounds, in the
worst case.
"""
import os
from functools import partial
from itertools import product
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from unittest.mock import patch

import numpy as np
import pandas as pd
from fastcore.script import call_parse

from tsai_rnnattn.data.archives import _bundled, _cache, get_UCR_data
from tsai_rnnattn.data.frames import series_from_long

NAMES = 'BasicMotions', 'JapaneseVowels', 'PLAID', 'ACSF1'               # they ship inside sktime


def frame(n, steps, text, shuffled):
    "A long data frame of `n` series"
    g, series = np.random.default_rng(0), np.arange(n).repeat(steps)
    ids, y = series, series % 5
    if text: ids, y = (np.char.add(o, k.astype(str)).astype(object) for o,k in (('series ', ids), ('label ', y)))
    df = pd.DataFrame(dict(id=ids, time=np.tile(np.arange(steps), n), value=g.normal(size=n*steps), y=y))
    return df.sample(frac=1, random_state=0, ignore_index=True) if shuffled else df

def groups(df, time):
    "The series and labels of a long data frame"
    g = df.sort_values(['id', time] if time else 'id', kind='stable').groupby('id', sort=False)
    return [o.to_numpy() for _,o in g['value']], g['y'].first().to_numpy()

def loop(path):
    "The series and labels of a `.ts` file"
    X, y, data = [], [], False
    with open(path) as f:
        for line in map(str.strip, f):
            if data:
                *variables, label = line.split(':')
                X.append(np.array([[float(o) for o in v.split(',')] for v in variables], np.float32)); y.append(label)
            data = data or line.lower() == '@data'
    return X, y


def ratios(baseline, *works, rounds):
    "Median over `rounds` of the time of each of `works`, relative to `baseline`"
    def seconds(f):
        start = perf_counter(); f()
        return perf_counter() - start
    got = [[seconds(f) for f in (baseline, *works)] for _ in range(rounds + 1)][1:]
    return [median(o[i] / o[0] for o in got) for i in range(1, len(works) + 1)]

def frame_ratios(rounds, rows=1_000_000):
    for steps,text,shuffled in product((100, rows // 100), (False, True), (False, True)):
        df = frame(rows // steps, steps, text, shuffled)
        for time in ('time', None):
            ours = partial(series_from_long, df, 'y', 'value', 'id', time)
            yield (steps, text, shuffled, time), ratios(partial(groups, df, time), ours, rounds=rounds)[0]

def both_files(name): return [loop(_bundled()/name/f'{name}_{o}.ts') for o in ('TRAIN', 'TEST')]

def first_read(name):
    for o in (_cache()/'.arrays').glob('*'): o.unlink()
    get_UCR_data(name)

def reading_ratios(rounds):
    "A first and a second read of each dataset, relative to a loop"
    with TemporaryDirectory() as cache, patch.dict(os.environ, TSAI_RNNATTN_CACHE=cache):
        for name in NAMES: yield name, ratios(*(partial(f, name) for f in (both_files, first_read, get_UCR_data)), rounds=rounds)

def worst(frames, reads):
    "A row for the worst case of each kind"
    yield dict(work='long frame, 1e6 rows, times sort + groupby', value=max(o for _,o in frames), target=1.0, goal=0.5, unit='×')
    first, again = map(max, zip(*(o for _,o in reads)))
    yield dict(work='.ts files, first read, times a plain loop', value=first, target=1.5, goal=1.0, unit='×')
    yield dict(work='.ts files, from the cache, times a plain loop', value=again, target=1.5, goal=0.2, unit='×')

def measure(rounds=5): yield from worst(frame_ratios(rounds), reading_ratios(3*rounds))

@call_parse
def main(
    rounds:int=5, # rounds for data frames; three times as many for files
):
    "Print the ratio of each case, and the worst"
    cases = [*frame_ratios(rounds)], [*reading_ratios(3*rounds)]
    for case,value in (*cases[0], *cases[1]): print(case, value)
    for row in worst(*cases): print(row)
