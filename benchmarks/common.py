"Shared by the benchmarks: models of both libraries, a step, interleaved timing, a description of the machine"
import platform
import time
from datetime import date
from importlib.metadata import version
from statistics import median

import torch
import torch.nn.functional as F
from torch import library as torch_library

BS, C_IN, C_OUT = 32, 9, 6
CELLS = ('RNN', 'LSTM', 'GRU')


def shim_torchvision():
    "Declare the operators that torchvision needs and a CPU build of torch lacks; tsai imports torchvision"
    try: import torchvision  # noqa: F401
    except RuntimeError as e:
        if 'torchvision::nms' not in str(e): raise
        global _lib                                                        # keeps the declarations alive
        _lib = torch_library.Library('torchvision', 'FRAGMENT')
        for op in ('nms', 'qnms'): _lib.define(f'{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

def models(library):
    "The module that holds the three models of `library`, 'tsai' or 'ours'"
    if library == 'ours': import tsai_rnnattn.models as module
    else:
        shim_torchvision()
        from tsai.models import RNNAttentionPlus as module
    return module

def build(library, cell, steps):
    "A model with its default settings"
    if library == 'floor': return Floor(cell, steps)
    return getattr(models(library), f'{cell}AttentionPlus')(C_IN, C_OUT, steps)


class Floor(torch.nn.Module):
    "A lower bound for models of this design: the recurrent network, torch's fused attention and the linear layers"
    def __init__(self, cell, steps, d=128, d_ff=256, layers=3):
        super().__init__()
        linear = torch.nn.Linear
        self.rnn = getattr(torch.nn, cell)(C_IN, d, batch_first=True)
        sizes = (d, 3*d), (d, d), (d, d_ff), (d_ff, d)
        self.layers = torch.nn.ModuleList(torch.nn.ModuleList(linear(*o) for o in sizes) for _ in range(layers))
        self.head = linear(d*steps, C_OUT)

    def forward(self, x):
        x, _ = self.rnn(x.transpose(1, 2))                                 # [bs, sl, d]
        for qkv, out, up, down in self.layers:
            q, k, v = qkv(x).unflatten(-1, (3, 16, -1)).permute(2, 0, 3, 1, 4)     # [bs, 16, sl, 8] each
            x = down(up(out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))))
        return self.head(x.flatten(1))


def batch(steps, bs=BS, device='cpu'):
    "Random series and classes"
    g = torch.Generator().manual_seed(0)
    return torch.randn(bs, C_IN, steps, generator=g).to(device), torch.randint(C_OUT, (bs,), generator=g).to(device)

def train_step(model, x, y):
    "Forward pass, loss and backward pass; the optimizer costs the same in both libraries"
    model.zero_grad()
    F.cross_entropy(model.train()(x), y).backward()

def infer_step(model, x, y=None):
    with torch.inference_mode(): model.eval()(x)

STEPS = dict(train=train_step, infer=infer_step)


def interleave(works, repeats, budget):
    "Run all `works` once to warm up, then in turn: `repeats` rounds, or fewer (at least 3) after `budget` seconds. A row of figures each"
    times = {k: [] for k in works}
    for f in works.values(): f()
    start = time.perf_counter()
    for n in range(repeats):
        if n >= 3 and time.perf_counter() - start > budget: break
        for k,f in works.items():
            t = time.perf_counter()
            f()
            times[k].append(time.perf_counter() - t)
    return [dict(library=k, value=median(v), least=min(v), rounds=len(v), unit='s') for k,v in times.items()]


def cpu_model():
    try: lines = open('/proc/cpuinfo').read().splitlines()
    except OSError: return platform.processor()
    return next((o.split(':', 1)[1].strip() for o in lines if o.startswith('model name')), platform.machine())

def memory_gb():
    with open('/proc/meminfo') as f: return int(f.readline().split()[1]) * 1024 / 1e9

def machine(cores, threads, device='cpu', packages=('tsai_rnnattn', 'tsai', 'torch', 'fastai', 'fastcore', 'numpy')):
    "Processor, versions of `packages` and date, one line each"
    card = [f'{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}'] if device == 'cuda' else []
    versions = ', '.join(f'{p} {version(p)}' for p in packages)
    return [*card, f'{cpu_model()}, {cores} cores, {threads} threads, {memory_gb():.0f} GB memory',
            f'{versions}, Python {platform.python_version()}, {platform.system()} {platform.machine()}', f'{date.today()}']
