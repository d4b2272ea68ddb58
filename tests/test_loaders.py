"Loaders of unequal lengths, with missing values and from files too large for memory, in a fastai Learner."
import fastai.callback.schedule  # noqa: F401 (gives Learner its fit_one_cycle)
import matplotlib
import numpy as np
import pytest
import torch
from fastai.basics import ClassificationInterpretation, Learner, accuracy, load_learner, set_seed
from torch import nn

from tsai_rnnattn.data.loaders import TSDataLoaders, pad_series
from tsai_rnnattn.data.ucr import get_UCR_data

matplotlib.use('agg')

class LengthsGRU(nn.Module):
    "The smallest model that honours lengths: the state of a GRU at the last real step"
    def __init__(self, c_in, c_out):
        super().__init__()
        self.rnn, self.out = nn.GRU(c_in, 16, batch_first=True), nn.Linear(16, c_out)
    def forward(self, x, lengths):
        assert lengths.dtype == torch.int64 and lengths.shape == (len(x),) and 1 <= lengths.min() and lengths.max() <= x.shape[2]
        steps, _ = self.rnn(x.transpose(1, 2))
        return self.out(steps[torch.arange(len(x)), lengths - 1])

@pytest.fixture(scope='module')
def vowels(): return get_UCR_data('JapaneseVowels', split_data=False)

def fitted(dls, n_epoch=1, **kw):
    learn = Learner(dls, LengthsGRU(dls.vars, dls.c), **kw)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n_epoch, 1e-2)
    return learn

def test_unequal_lengths_learn_and_give_the_same_predictions_everywhere(vowels, tmp_path):
    X, y, (train, test) = vowels
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X.map(lambda x: x*1000 + 500), y, (train, test), bs=32)    # far from standardised
    learn = fitted(dls, 12, metrics=accuracy)
    assert learn.recorder.final_record[-1] > 0.9
    with learn.no_bar(): want, targets = learn.get_preds()
    assert want.shape == (370, 9) and targets.shape == (370,)
    learn.export(tmp_path/'model.pkl')
    assert (tmp_path/'model.pkl').stat().st_size < 100_000
    with pytest.warns(UserWarning, match='insecure pickle'): loaded = load_learner(tmp_path/'model.pkl')
    raw = X[test].map(lambda x: x*1000 + 500)
    padded, lengths = pad_series(raw)
    with loaded.no_bar():
        for dl in (loaded.dls.test_dl(raw), loaded.dls.test_dl(padded, lengths=lengths), loaded.dls.test_dl(padded, y[test], lengths)):
            torch.testing.assert_close(loaded.get_preds(dl=dl)[0], want, atol=1e-5, rtol=1e-4)
        for i in (0, 100, 369):                                          # lengths of their own
            for x in (raw[i], raw[i][None], raw[i].tolist()):
                label, place, probs = loaded.predict(x)
                torch.testing.assert_close(probs, want[i], atol=1e-5, rtol=1e-4)
                assert label == dls.vocab[place] == dls.vocab[want[i].argmax()]
    assert (loaded.dls.vars, loaded.dls.c, loaded.dls.len, loaded.dls.n_inp) == (12, 9, 29, 2)

def test_a_batch_cut_to_its_longest_gives_the_same_predictions(vowels):
    def preds(**kw):
        dls = TSDataLoaders.from_numpy(*vowels, bs=16, **kw)
        learn = Learner(dls, model)
        with learn.no_bar(): return learn.get_preds()[0]
    torch.manual_seed(0)
    model = LengthsGRU(12, 9)
    torch.testing.assert_close(preds(cut_batches=True), preds(), atol=1e-5, rtol=1e-4)

def test_predict_returns_the_series_cut_to_its_length(vowels):
    X, y, _ = vowels
    learn = fitted(TSDataLoaders.from_numpy(*vowels))
    with learn.no_bar(): (x, n), *_ = learn.predict(X[0], with_input=True)
    torch.testing.assert_close(torch.Tensor(x), torch.tensor(X[0]), atol=1e-4, rtol=1e-4)
    assert n == X[0].shape[1]

def test_show_and_interpret_unequal_lengths(vowels):
    X, y, (_, test) = vowels
    dls = TSDataLoaders.from_numpy(*vowels)
    dls.valid.show_batch(max_n=3)
    axes = matplotlib.pyplot.gcf().axes
    assert [len(ax.lines) for ax in axes] == [12, 12, 12]
    assert [len(ax.lines[0].get_xdata()) for ax in axes] == [x.shape[1] for x in X[test[:3]]]
    assert [ax.get_title() for ax in axes] == y[test[:3]].tolist()
    learn = fitted(dls)
    with learn.no_bar(): cm = ClassificationInterpretation.from_learner(learn).confusion_matrix()
    assert cm.sum() == 370
    matplotlib.pyplot.close('all')

@pytest.mark.parametrize('name,n,c_in,sl', (('JapaneseVowels', 640, 12, 29), ('PLAID', 1074, 1, 1344)))
def test_archives_of_unequal_length(name, n, c_in, sl):
    dls = TSDataLoaders.from_ucr(name, bs=50)
    assert (dls.vars, dls.len, sum(len(dl.dataset) for dl in dls.loaders)) == (c_in, sl, n)
    seen = torch.cat([x[i, :, :k].flatten() for x,ks,_ in dls.train for i,k in enumerate(ks)])
    if c_in == 1: assert abs(seen.mean()) < 1e-3 and abs(seen.std() - 1) < 1e-3
