"Shared by the tests: models, small settings, series and lengths, training without output, loading of exported learners."
import re
from contextlib import contextmanager

import fastai.callback.schedule  # noqa: F401 (gives Learner its fit_one_cycle)
import pytest
import torch
from fastai.learner import Learner, Recorder, load_learner

from tsai_rnnattn.models import GRUAttentionPlus, LSTMAttentionPlus, RNNAttentionPlus
from tsai_rnnattn.testing import random_series

MODELS = (RNNAttentionPlus, LSTMAttentionPlus, GRUAttentionPlus)
SMALL = dict(hidden_size=8, n_heads=2, d_ff=11, encoder_layers=1)
LENGTHS = torch.tensor([7, 1, 6, 2, 7])                                  # of `series()`
each_model = pytest.mark.parametrize('M', MODELS, ids=lambda m: m.__name__)


def stable_id(o): return re.sub(' at 0x[0-9a-f]+', '', str(o))             # the same in each process

def series(bs=5, c_in=3, sl=7): return random_series(bs, c_in, sl)

def quiet_fit(learn, n_epoch=1, lr=3e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n_epoch, lr)
    return learn

def load_exported(path):
    with pytest.warns(UserWarning, match='insecure pickle'): return load_learner(path)

@contextmanager
def learner_restored():
    "Undoes what tsai changes in `Learner` and `Recorder` on import"
    before = {o: dict(vars(o)) for o in (Learner, Recorder)}
    try: yield
    finally:
        for cls,was in before.items():
            for k in set(vars(cls)) - set(was): delattr(cls, k)
            for k,v in was.items():
                if vars(cls)[k] is not v: setattr(cls, k, v)
