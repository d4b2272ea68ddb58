"Padding never reaches a result, whatever the head is made of, or wrapped in; what could let it through is refused."
import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.testing import assert_close

from tests.common import LENGTHS, SMALL, each_model, series
from tsai_rnnattn.layers.heads import (SigmoidRange, call_with_lengths, changed_options, flatten_head, make_head, mean_pool_head, pool_head,
                                       step_head)
from tsai_rnnattn.layers.norm import SeriesBatchNorm1d
from tsai_rnnattn.layers.pooling import AdditiveAttentionPool, AttentionPool, LastStep, MeanPool
from tsai_rnnattn.models import GRUAttentionPlus
from tsai_rnnattn.testing import assert_padding, random_series

class Inherits(nn.Sequential):
    "Has the forward of nn.Sequential"

class AnyArguments(nn.Module):
    "A wrapper that passes on what it gets"
    def __init__(self, inner): super().__init__(); self.inner = inner
    def forward(self, *args, **kwargs): return self.inner(*args, **kwargs)

def compiled(head): return torch.compile(head, backend='eager')
def plain(d_model=8, c_out=4): return nn.Sequential(MeanPool(), nn.Linear(d_model, c_out))
def nested(): return nn.Sequential(nn.Sequential(nn.BatchNorm1d(8), nn.Sequential(nn.Conv1d(8, 8, 1), nn.GELU())), plain())
def model(head=mean_pool_head, **kw): return GRUAttentionPlus(3, 4, 7, custom_head=head, encoder_dropout=0., **kw, **SMALL)

WRAPPERS = dict(compiled=compiled, checkpoint=checkpoint_wrapper, any_arguments=AnyArguments, copied=copy.deepcopy,
                pickled=lambda head: pickle.loads(pickle.dumps(head)), twice=lambda head: compiled(checkpoint_wrapper(head)))
HEADS = dict(pool=lambda: mean_pool_head(8, 4), plain=plain, nested=nested)

@pytest.mark.parametrize('wrap', WRAPPERS)
@pytest.mark.parametrize('head', HEADS)
def test_wrapped_heads_ignore_padding(head, wrap):
    torch.compiler.reset()
    m = model(HEADS[head]())
    want = m.eval()(series(), LENGTHS)
    m.head = WRAPPERS[wrap](m.head)
    assert_close(m(series(), LENGTHS), want)
    assert_padding(m, series(), LENGTHS, any_sl=True)

def test_a_head_wrapped_before_the_model_is_built():
    torch.compiler.reset()
    assert_padding(model(compiled(plain())), series(), LENGTHS, any_sl=True)

def test_a_plain_sequential_keeps_its_identity_hooks_and_checkpoint():
    head, calls = nested(), []
    for part in (head, head[0], head[0][1]): part.register_forward_hook(lambda m, i, o: calls.append(type(m).__name__))
    keys, m = list(head.state_dict()), model(head)
    m(series(), LENGTHS)
    assert m.head is head and list(head.state_dict()) == keys and calls == ['PaddedSequential'] * 3
    calls.clear()
    m(series())
    assert len(calls) == 3

@pytest.mark.parametrize('head,name', [
    (lambda: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)), 'AdaptiveAvgPool1d'),
    (lambda: nn.Sequential(nn.AvgPool1d(2), MeanPool(), nn.Linear(8, 4)), 'AvgPool1d'),
    (lambda: nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), MeanPool(), nn.Linear(8, 4)), 'Conv1d'),
    (lambda: nn.Sequential(nn.InstanceNorm1d(8), MeanPool(), nn.Linear(8, 4)), 'InstanceNorm1d'),
    (lambda: Inherits(MeanPool(), nn.Linear(8, 4)), 'Inherits'),
    (lambda: compiled(nn.AdaptiveMaxPool1d(1)), 'AdaptiveMaxPool1d')])
def test_layers_that_could_need_lengths_are_refused(head, name):
    m = model(head())
    m(series())                                                          # without lengths anything goes
    with pytest.raises(TypeError, match=f'{name} takes no lengths.*MeanPool.*PaddedSequential'): m(series(), LENGTHS)

def test_a_wrapper_of_a_layer_without_lengths_raises():
    m = model(AnyArguments(nn.Linear(7, 4)))
    with pytest.raises(TypeError, match='positional argument'): m(series(), LENGTHS)

@pytest.mark.parametrize('head', [
    lambda: nn.Sequential(nn.Flatten(), nn.Linear(56, 4)),
    lambda: nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Flatten(), nn.Linear(40, 4)),
    lambda: Inherits(nn.Dropout(0.), nn.Flatten(), nn.Linear(56, 4)),
    lambda: nn.Sequential(MeanPool(), nn.BatchNorm1d(8), nn.Linear(8, 6), nn.Unflatten(1, (2, 3)), SigmoidRange(0, 1))])
def test_layers_that_keep_steps_apart_need_no_lengths(head): assert_padding(model(head()), series(), LENGTHS)

def test_batch_norm_of_torch_uses_the_real_steps():
    x, head = random_series(5, 8, 7), nn.Sequential(nn.BatchNorm1d(8), MeanPool())
    want = nn.Sequential(SeriesBatchNorm1d(8), MeanPool())
    for train in (True, False):
        assert_close(call_with_lengths(head.train(train), x, LENGTHS), call_with_lengths(want.train(train), x, LENGTHS))
    assert_close(head[0].running_mean, want[0].running_mean)

class FakeSyncBatchNorm(nn.SyncBatchNorm):
    "Without a process group, which SyncBatchNorm needs only if there are several processes"
    def forward(self, x): return nn.BatchNorm1d.forward(self, x)
    def _check_input_dim(self, x): assert x.ndim == 2

def test_synchronized_batch_norm_uses_the_real_steps():
    m, x = model(), series()
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(m))
    norms = [o for o in synced.modules() if isinstance(o, nn.SyncBatchNorm)]
    assert len(norms) == 3                                               # two in the encoder, one in the head
    for o in norms: o.__class__ = FakeSyncBatchNorm
    for train in (True, False): assert_close(synced.train(train)(x, LENGTHS), m.train(train)(x, LENGTHS))
    assert_padding(synced, x, LENGTHS, any_sl=True)

def test_fully_sharded_heads():
    from torch import distributed
    from torch.distributed.fsdp import fully_shard
    distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = torch.distributed.device_mesh.init_device_mesh('cpu', (1,))
        m = model(plain()).eval()
        want = m(series(), LENGTHS)
        fully_shard(m.head, mesh=mesh)
        assert_close(m(series(), LENGTHS), want)
        m.head = fully_shard(plain(), mesh=mesh)
        with pytest.raises(TypeError, match='FSDPSequential takes no lengths'): m(series(), LENGTHS)
    finally: distributed.destroy_process_group()

@each_model
def test_a_model_is_a_sequence_of_layers(M):
    m = M(3, 4, 7, custom_head=mean_pool_head, **SMALL).eval()
    features, y = m.backbone(series(), LENGTHS), m(series(), LENGTHS)
    assert_close(m[:1](series(), LENGTHS), features)
    assert_close(m[1:](features, LENGTHS), y)
    assert m[0] is m.backbone and m[-1] is m.head
    m.append(nn.Softmax(1))
    assert_close(m(series(), LENGTHS), y.softmax(1))

def test_partial_pool_head_takes_the_arguments_of_a_model():
    m = model(partial(pool_head, LastStep(), use_bn=False))
    assert_close(m.eval()(series(), LENGTHS), m.head[1](LastStep()(m.backbone(series(), LENGTHS), LENGTHS)))
    assert m(series(sl=11)).shape == (5, 4)

@pytest.mark.parametrize('pool', [AttentionPool, AdditiveAttentionPool, partial(AdditiveAttentionPool, dropout=.1), lambda n: MeanPool()])
def test_a_pool_head_builds_the_layer_for_the_features_of_the_model(pool):
    for kw in ({}, dict(bidirectional=True)): assert_padding(model(partial(pool_head, pool), **kw), series(), LENGTHS, any_sl=True)
    assert model(partial(pool_head, pool), d=(2, 3), y_range=(0, 1))(series()).shape == (5, 2, 3, 4)

@pytest.mark.parametrize('pool', [3, 'mean', None, lambda n: n, lambda n: MeanPool])
def test_what_is_not_a_pooling_layer_is_refused(pool):
    with pytest.raises(TypeError, match='must be a pooling layer such as MeanPool.*callable'): pool_head(pool, 8, 4)

def test_make_head_passes_sizes_and_options_to_a_callable():
    got = []
    def build(*sizes, **asked): got.append((sizes, asked)); return nn.Identity()
    assert isinstance(make_head(build, 8, 4, 7, d=5), nn.Identity) and got == [((8, 4, 7), dict(d=5))]
    head = plain()
    assert make_head(head, 8, 4, 7) is head
    assert make_head(flatten_head, 8, 4, 7, fc_dropout=.1)(random_series(5, 8, 7)).shape == (5, 4)

@pytest.mark.parametrize('head,asked,error,text', [
    (5, {}, TypeError, 'custom_head=5: must be a module or a callable'), (None, {}, TypeError, 'custom_head=None'),
    (lambda *a: 'head', {}, TypeError, 'returned str: must return a module'), (lambda *a: nn.Linear, {}, TypeError, 'returned type'),
    (nn.Linear(8, 4), dict(d=5, fc_dropout=.1), ValueError, "cannot use {'d': 5, 'fc_dropout': 0.1}: pass a callable"),
    (lambda *a: nn.Identity(), dict(d=5), TypeError, "unexpected keyword argument 'd'")])
def test_heads_that_cannot_be_made_are_refused(head, asked, error, text):
    with pytest.raises(error, match=text): make_head(head, 8, 4, 7, **asked)

def test_changed_options_are_those_that_differ_from_the_defaults():
    def build(a, b=2, *, c=None, d=0.): pass
    assert changed_options(build, b=2, c=None, d=0) == {}
    assert changed_options(build, a=1, b=3, c=(1, 2), d=0.) == dict(a=1, b=3, c=(1, 2))

@pytest.mark.parametrize('low,high', [(-.3, .1), (0, .1), (-1e-3, 1e6), (1/3, 2/3)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_a_sigmoid_stays_within_its_bounds(low, high, dtype):
    y = SigmoidRange(low, high)(torch.linspace(-200, 200, 1001, dtype=dtype))
    assert torch.tensor(low, dtype=dtype) <= y.min() and y.max() <= torch.tensor(high, dtype=dtype)

def test_training_with_layer_norm_is_causal():
    def moved(norm, use_bn):
        "Which outputs a change of the last step moves in training"
        torch.manual_seed(0)
        m = model(partial(step_head, use_bn=use_bn), causal=True, norm=norm)
        x, later = series(), series()
        later[..., -1] += 1
        return ((m.train()(x) - m(later)).abs().amax((0, 2)) > 1e-6).tolist()
    assert moved('layer', False) == [False]*6 + [True]
    assert moved('layer', True) == moved('batch', False) == [True]*7

def test_a_compiled_model_with_a_plain_sequential_as_head():
    torch.compiler.reset()
    m = model(plain()).eval()
    got = torch.compile(m, backend='eager')(series(), LENGTHS)           # the head becomes a PaddedSequential in this call
    assert_close(got, m(series(), LENGTHS))
