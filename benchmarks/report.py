"Writes rows of figures as CSV, as a page of tables, and as a plot"
import csv
from math import floor, log10

import numpy as np

from benchmarks.memory import scores_bytes

COLUMNS = ('work', 'precision', 'bs', 'cell', 'steps', 'library', 'value', 'least', 'rounds', 'unit', 'target', 'goal')


def write_csv(rows, path):
    with open(path, 'w', newline='') as f:
        out = csv.DictWriter(f, COLUMNS)
        out.writeheader()
        out.writerows(rows)

class Figures(dict):
    "`figures[work, cell, steps, library]` is a value, or None if it was not measured"
    def __init__(self, rows):
        super().__init__({(r['work'], r.get('cell'), r.get('steps'), r['library']): r['value'] for r in rows if 'library' in r})
    def __missing__(self, key): return None
    def settings(self, works): return list(dict.fromkeys(k[:3] for k in self if k[0] in works))
    def works(self): return list(dict.fromkeys(k[0] for k in self))

    def ratio(self, setting, a, b):
        a, b = self[(*setting, a)], self[(*setting, b)]
        return a / b if a and b else None

    def growth(self, work, least=500):
        "The exponent in `value ~ steps**exponent`, fitted to our figures at `least` or more steps"
        points = [(s, v) for (w,_,s,lib),v in self.items() if (w, lib) == (work, 'ours') and s >= least]
        return np.polyfit(*np.log(points).T, 1)[0] if len(points) > 1 else None


def table(head, lines):
    return '\n'.join('| ' + ' | '.join(map(str, o)) + ' |' for o in (head, ['---']*len(head), *lines))

def show(value, unit=''):
    if value is None: return ''
    if unit == 'B': return f'{value/1e6:,.0f} MB'
    return f'{value:.{max(0, 2 - floor(log10(value)))}f}{unit and " " + unit}'             # three significant digits

def steps_table(figures, work):
    "A table of both libraries and the floor, one line per cell and length"
    unit = 'B' if work.startswith('memory') else 's'
    def line(s):
        f = figures
        return [s[1], s[2], *(show(f[(*s, lib)], unit) for lib in ('tsai', 'ours', 'floor')),
                show(f.ratio(s, 'tsai', 'ours')), show(f.ratio(s, 'ours', 'floor'))]
    return table(['cell', 'steps', 'tsai', 'ours', 'floor', 'tsai / ours', 'ours / floor'], [line(s) for s in figures.settings([work])])


def goals(figures):
    "`(work, measured, at least, goal)` for each target; larger is better unless the target starts with `<`"
    def least(work, steps, a='tsai', b='ours', pick=min):
        got = [figures.ratio(s, a, b) for s in figures.settings([work]) if steps in (None, s[2])]
        return pick([o for o in got if o], default=None)
    imports = lambda a, b: figures.ratio(('import', None, None), a, b)
    memory = figures['memory train', 'GRU', 2000, 'ours']
    return [('training step, 500 steps, slowest cell, times faster', least('train', 500), 2.7, 4),
            ('training step, 150 steps', least('train', 150), 2, 2.5), ('training step, 60 steps', least('train', 60), 1.4, 1.7),
            ('inference, 500 steps', least('infer', 500), 4.5, 6), ('inference, 60 steps', least('infer', 60), 1, 1.3),
            ('training, times the floor, worst', least('train', None, 'ours', 'floor', max), '<1.35', '<1.15'),
            ('added memory, training, 500 steps, times less', least('memory train', 500), 5, 10),
            ('added memory, training, 2000 steps, GB', memory and memory / 1e9, '<8', '<4'),
            ('epoch of Learner.fit, FaceAll', least('epoch FaceAll', None), 1.5, 3),
            ('epoch of Learner.fit, NATOPS', least('epoch NATOPS', None), 1.5, 3),
            ('import of tsai_rnnattn.models, times import torch', imports('tsai_rnnattn.models', 'torch'), '<1.3', '<1.1'),
            ('import of tsai_rnnattn.all, times tsai.basics', imports('tsai_rnnattn.all', 'tsai.basics'), '<0.5', '<0.25'),
            ('growth of memory with length, exponent', figures.growth('memory train'), '<1.15', '')]

def met(value, bound):
    if isinstance(bound, str): return value <= float(bound[1:])
    return value >= bound

def goal_line(name, value, least, goal):
    if value is None: return [name, 'not measured', least, goal, '']
    return [name, show(value), least, goal, 'goal met' if goal and met(value, goal) else 'met' if met(value, least) else '**missed**']


def page(rows, machine):
    "The whole page of results, as markdown"
    figures = Figures(rows)
    parts = ['# Results', '\n\n'.join(machine),
             'Batches of 32 series of 9 variables, default settings. Seconds are medians of interleaved rounds; `floor` is the bare '
             "recurrent network, torch's fused attention and the linear layers.",
             '## Targets', table(['work', 'measured', 'at least', 'goal', ''], [goal_line(*o) for o in goals(figures)])]
    parts += ['[The README](../README.md#what-was-tried) lists what was tried to reach them, with results.']
    titles = dict(train='Training step', infer='Inference step')
    for work in figures.works():
        if work == 'import' or work.startswith('epoch'): continue
        parts += [f'## {titles.get(work) or work.replace("memory", "Added peak memory,")}', steps_table(figures, work)]
    parts += [f'tsai was not run at 2000 steps: one of its score matrices takes {scores_bytes(2000)/1e9:.1f} GB, and its training step '
              "holds five of them at once (the weights of three layers, kept for the backward pass, and two gradients): "
              f'{5*scores_bytes(2000)/1e9:.0f} GB.']
    epochs = figures.settings([w for w in figures.works() if w.startswith('epoch')])
    parts += ['## One epoch of `Learner.fit`, with validation', table(['data', 'steps', 'tsai', 'ours', 'tsai / ours'],
              [[s[0].split()[1], s[2], *(show(figures[(*s, lib)], 's') for lib in ('tsai', 'ours')), show(figures.ratio(s, 'tsai', 'ours'))]
               for s in epochs])]
    parts += ['## Import', table(['module', 'seconds'], [[k[3], show(v)] for k,v in figures.items() if k[0] == 'import'])]
    parts += ['## Costs', 'What a feature costs as a multiple of the same work without it, and what reading and predicting cost as a '
              'multiple of plain code.', costs_table(rows)]
    return '\n\n'.join(parts) + '\n'

def costs_table(rows):
    def line(r):
        if r['target'] == '': return [r['work'], show(r['value']), '', '', '']
        return goal_line(r['work'], r['value'], f"<{r['target']}", f"<{r['goal']}")
    return table(['work', 'measured', 'at most', 'goal', ''], [line(r) for r in rows if 'target' in r])

def gpu_page(rows, machine):
    "Tables of both libraries on a GPU, one for each kind of work and precision"
    parts = ['# Results on a GPU', '\n\n'.join(machine), 'Series of 9 variables, default settings. Seconds are medians of interleaved '
             'rounds. tsai was not run where its attention weights would not fit into memory.']
    for work,precision in dict.fromkeys((r['work'], r['precision']) for r in rows):
        figures = {}
        for r in rows:
            if (r['work'], r['precision']) != (work, precision): continue
            figures.setdefault((r['cell'], r['bs'], r['steps']), {})[r['library']] = r['value']
        unit = 'B' if work.startswith('memory') else 's'
        lines = [[*k, show(v.get('tsai'), unit), show(v['ours'], unit), show(v['tsai'] / v['ours']) if 'tsai' in v else '']
                 for k,v in figures.items()]
        parts += [f'## {work.capitalize()}, {precision}', table(['cell', 'series', 'steps', 'tsai', 'ours', 'tsai / ours'], lines)]
    return '\n\n'.join(parts) + '\n'


def plot(rows, path):
    "Seconds and memory of a GRU model against length"
    import matplotlib.pyplot as plt
    figures = Figures(rows)
    fig, axs = plt.subplots(1, 2, figsize=(9, 3.5), layout='constrained')
    plots = (('train', 'infer'), 1, 'seconds per step'), (('memory train', 'memory infer'), 1e6, 'MB added')
    for ax, (works, scale, label) in zip(axs, plots):
        for work in works:
            for library,color in (('tsai', 'C3'), ('ours', 'C0'), ('floor', 'C7')):
                points = sorted((s, v/scale) for (w,c,s,lib),v in figures.items() if (w, c, lib) == (work, 'GRU', library))
                style = dict(color=color, ms=4, label=f'{library}, {work.split()[-1]}')
                if points: ax.loglog(*zip(*points), 'o-' if 'train' in work else 's--', **style)
        steps = sorted({s for w,c,s,lib in figures if w in works})
        ax.set(xlabel='steps in the series', ylabel=label)
        ax.set_xticks(steps, steps)
        ax.set_xticks([], minor=True)
        ax.grid(alpha=.3)
        ax.legend(fontsize=8)
    fig.savefig(path, dpi=90)
