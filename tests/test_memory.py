"Memory is linear in the number of steps: neither the forward nor the backward pass creates a tensor of steps by steps."
from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.common import MODELS, SMALL
from tsai_rnnattn.layers.attention import record_attention
from tsai_rnnattn.models import GRUAttentionPlus


class Largest(TorchDispatchMode):
    "Bytes of the largest storage that any operation returns inside the `with` block"
    nbytes = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor): self.nbytes = max(self.nbytes, t.untyped_storage().nbytes())
        return out

def largest(M, sl, train, watch=nullcontext, **kw):
    model, x = M(3, 2, sl, **{**SMALL, 'encoder_layers': 2}, **kw).train(train), torch.randn(5, 3, sl)
    with Largest() as seen, torch.set_grad_enabled(train), watch(model):
        y = model(x)
        if train: y.sum().backward()
    return seen.nbytes

@pytest.mark.parametrize('train', (True, False))
@pytest.mark.parametrize('kw', (dict(), dict(d_k=5, d_v=3), dict(d=7)), ids=str)
@pytest.mark.parametrize('M', MODELS)
def test_no_steps_by_steps_tensor(M, kw, train):
    assert largest(M, 800, train, **kw) <= 2.1 * largest(M, 400, train, **kw)

def test_recording_attention_creates_one():
    assert largest(GRUAttentionPlus, 400, False, record_attention) == 4 * 5*SMALL['n_heads']*400*400
