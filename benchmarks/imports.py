"Seconds to start Python and import a module"
import subprocess
import sys
from functools import partial

from fastcore.script import call_parse

from benchmarks.common import interleave

SHIM = 'from benchmarks.common import shim_torchvision; shim_torchvision(); '
MODULES = {'torch': 'import torch', 'tsai_rnnattn.models': 'import tsai_rnnattn.models', 'tsai_rnnattn.all': 'import tsai_rnnattn.all',
           'tsai.models': f'{SHIM}import tsai.models.RNNAttentionPlus', 'tsai.basics': f'{SHIM}import tsai.basics'}


def run(code): subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)

def measure(repeats=5, budget=120.):
    for row in interleave({k: partial(run, v) for k,v in MODULES.items()}, repeats, budget): yield dict(work='import', **row)

@call_parse
def main(repeats:int=5): # rounds
    "Print the seconds per import"
    for row in measure(repeats): print(row)
