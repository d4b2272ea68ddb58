"Mixtures of series: labels of every shape, lengths, and what fastai's own callbacks cannot do."
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastai.basics import CrossEntropyLossFlat, Learner, set_seed
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.mixup import CutMix, MixUp
from torch.testing import assert_close

from tests.common import SMALL, quiet_fit
from tsai_rnnattn.data.augment import TSCutMix, TSCutOut, TSMixUp
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.models import GRUAttentionPlus

N, SL = 23, 11
LENGTHS = np.arange(N) % 9 + 3
LEVELS = (np.arange(1, N + 1)[:, None, None] * np.ones((N, 2, SL))).astype(np.float32)       # series i is full of i + 1
each_mix = pytest.mark.parametrize('T', (TSMixUp, TSCutMix), ids=lambda t: t.__name__)

class Recording(torch.nn.Module):
    "Logits of fixed weights for each class, of the mean of a series; keeps inputs and outputs"
    def __init__(self, *shape):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(0)))
    def forward(self, x, lengths=None):
        self.x, self.lengths = x, lengths
        self.out = x.mean((1, 2)).view(-1, *[1] * self.weight.ndim) * self.weight / 10
        return self.out

class Stop(Callback):
    "Keeps the targets and the loss of the training batch, and ends the training before validation"
    def after_loss(self): self.kept, self.targets = self.learn.loss.detach().clone(), self.learn.yb
    def before_validate(self): raise CancelFitException

def trained(T, y, model, lengths=None, loss_func=None):
    "A learner after one step of training with all series"
    set_seed(1)
    rows = np.arange(N)
    dls = TSDataLoaders.from_numpy(np.r_[LEVELS, LEVELS[:1]], np.r_[y, y[:1]], (rows, [N]), bs=N, batch_tfms=[],
                                   lengths=None if lengths is None else np.r_[lengths, lengths[:1]])
    learn = Learner(dls, model, loss_func=loss_func, cbs=[cb := T(), Stop()])
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-9)
    return learn, cb

@each_mix
@pytest.mark.parametrize('shape', ((), (3,), (3, 2)), ids=str)
@pytest.mark.parametrize('lengths', (None, LENGTHS), ids=('equal', 'lengths'))
def test_losses_of_labels_of_every_shape_are_mixed(T, shape, lengths):
    y = np.arange(N * int(np.prod(shape, dtype=int))).reshape(N, *shape) * 7 % 5
    learn, cb = trained(T, y, Recording(*shape, 5), lengths)
    out, stop = learn.model.out.detach(), learn.stop
    def losses(t): return F.cross_entropy(out.flatten(0, -2), t.flatten(), reduction='none').view(N, -1).mean(1)      # [bs], of all places
    lam = cb.lam.view(N, -1)
    assert (lam == lam[:, :1]).all()                                     # one weight per series
    want = lam[:, 0] * losses(stop.targets[0]) + (1 - lam[:, 0]) * losses(cb.yb1[0])
    assert_close(stop.kept.as_subclass(torch.Tensor), want.mean(), atol=1e-5, rtol=1e-5)

@each_mix
@pytest.mark.parametrize('shape', ((3,), (3, 2)), ids=str)
def test_models_train_with_a_label_per_place(T, shape):
    set_seed(0)
    y = np.random.default_rng(0).integers(0, 4, (40, *shape))
    X = np.random.default_rng(1).normal(size=(40, 2, SL))
    dls = TSDataLoaders.from_numpy(X, y, (range(30), range(30, 40)), bs=8, class_weight='balanced')
    learn = quiet_fit(Learner(dls, GRUAttentionPlus(2, dls.c, SL, d=dls.d, **SMALL), cbs=T()))
    assert torch.stack(learn.recorder.losses).isfinite().all() and type(learn.loss_func).__name__ == 'WeightedCrossEntropy'

@each_mix
@pytest.mark.parametrize('y', (np.arange(1., N + 1), np.arange(N)[:, None] % [2, 3] == 0), ids=('numbers', 'flags'))
def test_numbers_and_flags_are_mixed_by_the_weights_of_the_series(T, y):
    learn, cb = trained(T, y, Recording(y.shape[1] if y.ndim == 2 else 1))
    order = learn.dls.train_ds.targets.encode(y)
    mixed, partner = learn.stop.targets[0], cb.yb1[0]
    assert cb.lam.shape == (N,) and mixed.shape == partner.shape == order.shape
    own = (mixed - (1 - cb.lam[:, None]) * partner) / cb.lam[:, None]    # what is left without the partner
    sure = cb.lam > .1                                                   # else mostly rounding error
    assert sure.sum() > N / 2
    assert_close(own[sure], own[sure].round(), atol=1e-3, rtol=0)
    assert {tuple(o) for o in own[sure].round().tolist()} <= {tuple(o) for o in order.tolist()}

def test_cutmix_takes_one_interval_of_a_partner_within_the_real_steps_of_both():
    learn, cb = trained(TSCutMix, np.arange(1., N + 1), Recording(1), LENGTHS)
    x, lengths = learn.model.x[:, 0], learn.model.lengths
    some = 0
    for s,n,lam,t in zip(x, lengths, cb.lam, learn.stop.targets[0]):
        values = s[:n].unique().tolist()
        assert (s[:n] > 0).all() and (s[n:] == 0).all() and len(values) <= 2
        assert (s[:n].diff() != 0).sum() <= 2                            # one interval
        assert_close(t.item(), s[:n].mean().item(), atol=1e-4, rtol=0)   # its share of the target is its share of the steps
        some += len(values) == 2
    assert some > 5 and cb.lam.min() >= 0 and cb.lam.max() <= 1

def test_cutmix_draws_the_share_from_a_beta_distribution():
    "With alpha=1 it is uniform"
    cb, x, y = TSCutMix(), torch.ones(2000, 1, 1000), torch.ones(2000)
    cb.learn, cb.stack_y = SimpleNamespace(xb=(x,), yb=(y,), y=y), False
    torch.manual_seed(0)
    cb.before_batch()
    assert_close((cb.lam.mean(), cb.lam.std()), (torch.tensor(.5), torch.tensor(12**-.5)), atol=.02, rtol=0)

@pytest.mark.parametrize('n', (1, 3, 7))
def test_every_real_step_can_be_cut_out(n):
    torch.manual_seed(0)
    z = TSCutOut(.3).encode(torch.ones(500, 1, 7), torch.full((500,), n))[:, 0]
    assert ((z == 0).float().mean(0) > 0).tolist() == [True] * n + [False] * (7 - n)

def test_every_step_can_come_from_the_partner():
    cb, x = TSCutMix(), torch.arange(500.)[:, None, None].expand(500, 1, 7)
    cb.learn, cb.stack_y = SimpleNamespace(xb=(x,), yb=(x[:, 0, 0],), y=x[:, 0, 0]), False
    torch.manual_seed(0)
    cb.before_batch()
    changed = (cb.learn.xb[0] != x)[:, 0].float().mean(0)
    assert_close(changed, changed.flip(0), atol=.1, rtol=0)              # as often at the end as at the start
    assert changed.min() > .2

@each_mix
def test_the_loss_function_is_restored(T):
    learn, _ = trained(T, np.arange(N) % 2, Recording(2))
    assert isinstance(learn.loss_func, CrossEntropyLossFlat)

@each_mix
@pytest.mark.parametrize('loss', (torch.nn.CrossEntropyLoss(), F.cross_entropy), ids=('module', 'function'))
def test_a_loss_that_cannot_be_mixed_is_refused(T, loss):
    with pytest.raises(TypeError, match=f'{T.__name__} mixes the losses of labels.*CrossEntropyLossFlat'):
        trained(T, np.arange(N) % 2, Recording(2), loss_func=loss)

@pytest.mark.parametrize('T, lengths', [(MixUp, LENGTHS), (CutMix, LENGTHS), (CutMix, None)], ids=('MixUp', 'CutMix', 'CutMix, equal'))
def test_callbacks_of_fastai_fail_instead_of_mixing_lengths(T, lengths):
    with pytest.raises((AttributeError, ValueError), match='Exception occured in `(MixUp|CutMix)`'):
        trained(T, np.arange(N) % 2, Recording(2), lengths)

def test_mixup_of_fastai_works_without_lengths():
    trained(MixUp, np.arange(N) % 2, Recording(2))

def test_ragged_targets_are_called_ragged():
    for y in ([[0], [0, 1]] * 20, [['a'], ['a', 'b']] * 20, [np.zeros(2), np.zeros(3)] * 20):
        with pytest.raises(ValueError, match='y is ragged: all labels or targets need the same shape'):
            TSDataLoaders.from_numpy(np.zeros((40, 1, 3)), y)
