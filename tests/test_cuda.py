"On a GPU: the same results as on the CPU, in training and evaluation, with lengths, in half precision, and from loaders to predictions."
import pytest
import torch
from fastai.basics import Learner
from torch.testing import assert_close

from tests.common import LENGTHS, SMALL, each_model, quiet_fit, series, stable_id
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.layers.attention import attention_maps
from tsai_rnnattn.layers.dropout import FastDropout
from tsai_rnnattn.layers.heads import attention_pool_head, mean_pool_head, step_head
from tsai_rnnattn.models import GRUAttentionPlus
from tsai_rnnattn.testing import assert_padding

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')]
SETTINGS = [dict(), dict(bidirectional=True, rnn_layers=2, custom_head=attention_pool_head), dict(d=(2, 3), y_range=(0, 1)),
            dict(causal=True, norm='layer', custom_head=step_head), dict(d_k=3, d_v=5)]

def both(M, **kw):
    "A model on the CPU and its copy on the GPU"
    model = M(3, 4, 7, **{**SMALL, 'encoder_dropout': 0., **kw})
    other = M(3, 4, 7, **{**SMALL, 'encoder_dropout': 0., **kw})
    other.load_state_dict(model.state_dict())
    return model, other.cuda()

@each_model
@pytest.mark.parametrize('kw', SETTINGS, ids=stable_id)
@pytest.mark.parametrize('train', (False, True))
@pytest.mark.parametrize('lengths', (None, LENGTHS), ids=('equal', 'lengths'))
def test_outputs_and_gradients_are_those_of_the_cpu(M, kw, train, lengths):
    results = []
    for m in both(M, **kw):
        device = next(m.parameters()).device
        y = m.train(train)(series().to(device), None if lengths is None else lengths.to(device))
        grads = torch.autograd.grad(y.square().sum(), list(m.parameters())) if train else []
        results.append([o.detach().cpu() for o in (y, *grads)])
    assert_close(results[1], results[0], atol=1e-3, rtol=1e-3)

@each_model
@pytest.mark.parametrize('where', ('cpu', 'cuda'))
def test_lengths_may_be_on_either_device(M, where):
    cpu, gpu = both(M, custom_head=mean_pool_head, bidirectional=True)
    assert_close(gpu.eval()(series().cuda(), LENGTHS.to(where)).cpu(), cpu.eval()(series(), LENGTHS), atol=1e-3, rtol=1e-3)

@each_model
@pytest.mark.parametrize('bidirectional', (False, True))
def test_padding_is_inert(M, bidirectional):
    model = M(3, 4, 7, bidirectional=bidirectional, custom_head=mean_pool_head, **SMALL).cuda()
    assert_padding(model, series().cuda(), LENGTHS.cuda(), any_sl=True)

@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_autocast(dtype):
    cpu, gpu = both(GRUAttentionPlus, custom_head=mean_pool_head)
    with torch.autocast('cuda', dtype): y = gpu.eval()(series().cuda(), LENGTHS.cuda())
    assert_close(y.float().cpu(), cpu.eval()(series(), LENGTHS), atol=0.1, rtol=0.1)

def test_attention_maps():
    cpu, gpu = both(GRUAttentionPlus)
    assert_close(attention_maps(gpu, series().cuda(), LENGTHS.cuda()).cpu(), attention_maps(cpu, series(), LENGTHS), atol=1e-4, rtol=1e-3)

def test_dropout_is_that_of_torch():
    x = torch.randn(97, 101, device='cuda')
    torch.manual_seed(1); got = FastDropout(0.3)(x)
    torch.manual_seed(1); assert torch.equal(got, torch.nn.functional.dropout(x, 0.3))

def test_a_learner_trains_and_predicts():
    X, y = series(60, 3, 11).numpy(), ['a', 'b', 'c'] * 20
    dls = TSDataLoaders.from_numpy(X, y, seed=0, bs=16, device='cuda')
    learn = quiet_fit(Learner(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, **SMALL)))
    assert next(learn.model.parameters()).is_cuda
    with learn.no_bar(): probs, _, labels = learn.get_X_preds(X)
    assert probs.shape == (60, 3) and set(labels) <= set('abc')
