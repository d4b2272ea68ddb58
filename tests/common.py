"What the tests share: the models, small settings, lengths, quiet training."
import fastai.callback.schedule  # noqa: F401 (gives Learner its fit_one_cycle)
import pytest
import torch

from tsai_rnnattn.models import GRUAttentionPlus, LSTMAttentionPlus, RNNAttentionPlus

MODELS = (RNNAttentionPlus, LSTMAttentionPlus, GRUAttentionPlus)
SMALL = dict(hidden_size=8, n_heads=2, d_ff=11, encoder_layers=1)
LENGTHS = torch.tensor([7, 1, 6, 2, 7])                                  # of the 5 series [3, 7] that `random_series(5, 3, 7)` returns
each_model = pytest.mark.parametrize('M', MODELS, ids=lambda m: m.__name__)


def quiet_fit(learn, n_epoch=1, lr=3e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n_epoch, lr)
    return learn
