"fastai Learners, from data to predictions."
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from fastai.basics import Callback, ClassificationInterpretation, Learner, accuracy, mse, set_seed
from fastai.callback.hook import ActivationStats                         # the module also gives Learner its summary

import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
from tests.common import SMALL, each_model, load_exported, quiet_fit
from tsai_rnnattn.data.archives import get_UCR_data
from tsai_rnnattn.data.augment import TSJitter, TSMagScale, TSWindowSlicing
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.transforms import TSStandardize
from tsai_rnnattn.layers.heads import mean_pool_head
from tsai_rnnattn.models import GRUAttentionPlus, LSTMAttentionPlus, RNNAttentionPlus

matplotlib.use('agg')

@pytest.fixture(scope='module')
def italy(): return get_UCR_data('ItalyPowerDemand', split_data=False)

@each_model
def test_learns_beyond_the_majority_class(M, italy):
    set_seed(0)
    dls = TSDataLoaders.from_numpy(*italy, bs=16)
    learn = quiet_fit(Learner(dls, M(dls.vars, dls.c, dls.len, **SMALL), metrics=accuracy), 15)
    assert learn.recorder.final_record[-1] > 0.85                        # half of the series belong to each class

def test_export_and_load_predict_raw_series(tmp_path, italy):
    X, y, (train, test) = italy
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X*1000 + 500, y, (train, test), bs=16)    # far from standardized
    learn = quiet_fit(Learner(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, **SMALL)), 5)
    with learn.no_bar(): want, targets = learn.get_preds()
    assert want.shape == (len(test), 2) and targets.shape == (len(test),)
    learn.export(tmp_path/'model.pkl')
    assert (tmp_path/'model.pkl').stat().st_size < 300_000               # without the data
    loaded = load_exported(tmp_path/'model.pkl')
    with loaded.no_bar():
        got, none = loaded.get_preds(dl=loaded.dls.test_dl((X*1000 + 500)[test]))
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)
        for i in (test[0], test[-1]):
            label, place, probs = loaded.predict(X[i]*1000 + 500)
            assert label == dls.vocab[place] == dls.vocab[want[i - test[0]].argmax()]
            torch.testing.assert_close(probs, want[i - test[0]], atol=1e-5, rtol=1e-4)
    assert (loaded.dls.vars, loaded.dls.c, loaded.dls.len, list(loaded.dls.vocab)) == (1, 2, 24, ['1', '2'])

@each_model
def test_unequal_lengths(M, tmp_path):
    X, y, (train, test) = get_UCR_data('JapaneseVowels', split_data=False)
    set_seed(0)
    dls = TSDataLoaders.from_numpy(X, y, (train, test), bs=16)
    model = M(dls.vars, dls.c, dls.len, bidirectional=True, custom_head=mean_pool_head, **SMALL)
    learn = quiet_fit(Learner(dls, model, metrics=accuracy), 8)
    assert learn.recorder.final_record[-1] > 0.8                         # nine speakers
    with learn.no_bar(): want, _ = learn.get_preds()
    learn.export(tmp_path/'model.pkl')
    loaded = load_exported(tmp_path/'model.pkl')
    with loaded.no_bar():
        for i in (0, 100, 369):                                          # one at a time, each with its own length
            label, place, probs = loaded.predict(X[test[i]])
            torch.testing.assert_close(probs, want[i], atol=1e-5, rtol=1e-4)
            assert label == dls.vocab[place] == dls.vocab[want[i].argmax()]

def test_regression_predictions_have_the_shape_of_targets_and_stay_in_range():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2, 11)).astype(np.float32)
    y = X.mean((1, 2))
    dls = TSDataLoaders.from_numpy(X, y, valid_pct=0.25, seed=0, bs=16)
    learn = Learner(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, y_range=(-1, 1), **SMALL), metrics=mse)
    first = quiet_fit(learn).recorder.losses[0].item()
    assert quiet_fit(learn, 10).recorder.losses[-1].item() < first / 2
    with learn.no_bar():
        preds, targets = learn.get_preds()
        value, _, _ = learn.predict(X[0])
    assert preds.shape == targets.shape == (20, 1)
    assert -1 <= preds.min() and preds.max() <= 1
    assert value.shape == (1,)

def test_several_targets():
    X = np.random.default_rng(0).normal(size=(20, 2, 7))
    dls = TSDataLoaders.from_numpy(X, X[:, 0, :3], seed=0, bs=8)
    learn = quiet_fit(Learner(dls, RNNAttentionPlus(dls.vars, dls.c, dls.len, **SMALL)), 1)
    with learn.no_bar(): preds, targets = learn.get_preds()
    assert preds.shape == targets.shape == (4, 3)

def test_interpretation_and_show(italy):
    dls = TSDataLoaders.from_numpy(*italy, bs=16)
    learn = quiet_fit(Learner(dls, LSTMAttentionPlus(dls.vars, dls.c, dls.len, **SMALL), metrics=accuracy), 1)
    with learn.no_bar():
        cm = ClassificationInterpretation.from_learner(learn).confusion_matrix()
        right = learn.validate()[1]
    assert cm.sum() == 1029
    assert cm.trace() / 1029 == pytest.approx(right)
    dls.show_batch(max_n=3)
    assert [len(ax.lines) for ax in matplotlib.pyplot.gcf().axes] == [1, 1, 1]
    matplotlib.pyplot.close('all')

def test_summary_names_every_layer(italy):
    dls = TSDataLoaders.from_numpy(*italy, bs=16)
    with (learn := Learner(dls, GRUAttentionPlus(1, 2, 24, **SMALL))).no_bar(): text = str(learn.summary())
    for layer in ('GRU', 'Linear', 'BatchNorm1d', 'GELU', 'Flatten'): assert layer in text

def test_same_seed_same_training(italy):
    def losses():
        set_seed(3)
        dls = TSDataLoaders.from_numpy(*italy, bs=16)
        return torch.stack(quiet_fit(Learner(dls, GRUAttentionPlus(1, 2, 24, **SMALL)), 1).recorder.losses)
    assert torch.equal(losses(), losses())

@pytest.mark.parametrize('n', (20, 41))
@pytest.mark.parametrize('bs', (1, 3, 8, 64))
def test_each_epoch_has_every_series_once_with_its_label(n, bs):
    X, y = np.arange(n)[:, None, None] * np.ones((n, 2, 3)), np.arange(n) % 3    # series i is full of i
    dls = TSDataLoaders.from_numpy(X, y, bs=bs, batch_tfms=[], seed=0)
    for dl in dls.loaders:
        seen = [(int(x[0, 0]), int(t)) for xb,yb in dl for x,t in zip(xb, yb)]
        assert sorted(i for i,_ in seen) == sorted(dl.dataset.rows)
        assert all(t == i % 3 for i,t in seen)
    assert sorted(np.concatenate([dl.dataset.rows for dl in dls.loaders])) == list(range(n))

def test_demo_from_the_command_line(tmp_path):
    env = {**os.environ, 'MPLBACKEND': 'agg'}
    out = subprocess.run([sys.executable, '-m', 'tsai_rnnattn.demo', '--epochs', '2', '--path', str(tmp_path/'out')],
                         cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout
    assert 'train_loss' in out and 'Test accuracy: ' in out
    assert out.count('test series') == 3 and out.count('probability') == 3
    files = {o.name for o in (tmp_path/'out').iterdir()}
    assert files == {'learning_curve.png', 'confusion_matrix.png', 'attention_map.png', 'model'}

def learner(lengths=False, y='labels', tfms=None, **kw):
    "A small learner on 24 series; with lengths, they are from 1 to 11"
    set_seed(0)
    X = np.random.default_rng(0).normal(size=(24, 2, 11)).astype(np.float32)
    y = dict(labels=np.arange(24) % 3, numbers=X[:, 0, 0], several=X[:, :, 0])[y]
    kw = dict(lengths=np.arange(24) % 11 + 1, **kw) if lengths else kw
    dls = TSDataLoaders.from_numpy(X, y, (range(16), range(16, 24)), bs=5, batch_tfms=tfms, **kw)
    return Learner(dls, GRUAttentionPlus(dls.vars, dls.c, dls.len, custom_head=mean_pool_head, **SMALL))

@pytest.mark.parametrize('lengths', (False, True), ids=('equal', 'lengths'))
@pytest.mark.parametrize('y', ('labels', 'numbers', 'several'))
@pytest.mark.parametrize('augs', ([], [TSJitter(.5)], [TSMagScale(.5), TSWindowSlicing(.3)]), ids=('plain', 'jitter', 'two'))
def test_test_time_augmentation(lengths, y, augs):
    learn = learner(lengths, y, [TSStandardize(), *augs])
    with learn.no_bar():
        want, truth = learn.get_preds()
        preds, targets = learn.tta(n=3)
        augmented, plain = learn.tta(n=3, beta=None)[0]
        train = learn.tta(ds_idx=0, n=1, beta=1)[0]
        with learn.dls.train_ds.set_split_idx(1): in_order = learn.get_preds(dl=learn.dls.train.new(shuffle=False))[0]
        torch.testing.assert_close(train, in_order)
        fresh = learn.tta(n=1, beta=None, batch_tfms=[learn.dls.after_batch[0], TSJitter(5.)])[0][0]
    assert preds.shape == want.shape and torch.equal(targets, truth)
    torch.testing.assert_close(plain, want)
    assert torch.allclose(augmented, want) is not bool(augs)
    assert not torch.allclose(fresh, want)
    assert [dl.split_idx for dl in learn.dls.loaders] == [0, 1]

def test_predictions_of_series_in_any_container():
    learn = learner(lengths=True)
    X = learn.dls.train_ds.X
    ragged = [x[:, :2 + i] for i,x in enumerate(X[:5])]
    with learn.no_bar():
        want = learn.get_X_preds(X[:5], lengths=[2, 3, 4, 5, 6])[0]
        np.testing.assert_allclose(learn.get_X_preds(ragged)[0], want, atol=1e-6)
        np.testing.assert_allclose(learn.get_X_preds([torch.tensor(x) for x in ragged], bs=2)[0], want, atol=1e-6)
        for x,p in zip(ragged, want): np.testing.assert_allclose(learn.predict(x)[2], p, atol=1e-6)
        for bad,says in ((X[0], r'for a single series, X\[None\]'), ([], 'at least one series'), (X[:0], 'is empty')):
            with pytest.raises(ValueError, match=says): learn.get_X_preds(bad)

def test_predictions_of_one_series_are_arrays_too():
    learn = learner()
    with learn.no_bar(): probs, truth, labels = learn.get_X_preds(learn.dls.train_ds.X[:1], [2])
    assert (probs.shape, truth.tolist(), labels.shape) == ((1, 3), [2], (1,))

def test_predictions_are_in_order_whatever_the_loader_of_validation_does():
    learn = learner()
    X = learn.dls.train_ds.X
    with learn.no_bar():
        want = learn.get_X_preds(X)[0]
        learn.dls.valid = learn.dls.valid.new(shuffle=True, num_workers=2)
        np.testing.assert_allclose(learn.get_X_preds(X)[0], want, atol=1e-6)

def test_callbacks_run_for_predictions():
    events = []
    class Listen(Callback):
        def before_fit(self): events.append('before_fit')
        def before_batch(self): events.append('before_batch')
        def after_fit(self): events.append('after_fit')
    learn = learner()
    learn.add_cb(Listen())
    with learn.no_bar(): learn.get_X_preds(learn.dls.train_ds.X[:7])
    assert events == ['before_fit', 'before_batch', 'before_batch', 'after_fit']

@pytest.mark.parametrize('kw', (dict(), dict(cut_batches=True), dict(cut_batches=True, by_length=True)), ids=('padded', 'cut', 'by_length'))
def test_training_on_batches_of_each_kind_of_padding(kw):
    losses = quiet_fit(learner(lengths=True, **kw), 2).recorder.losses
    assert len(losses) == 2*4 and all(o.isfinite() for o in losses)

def test_summary_of_a_model_with_lengths():
    with (learn := learner(lengths=True)).no_bar(): text = str(learn.summary())
    for layer in ('GRU', 'Linear', 'BatchNorm1d'): assert layer in text

def test_activation_stats_of_a_model_with_lengths():
    learn = learner(lengths=True)
    learn.add_cb(ActivationStats(with_hist=True))
    quiet_fit(learn)
    assert len(learn.activation_stats.stats) == 4
