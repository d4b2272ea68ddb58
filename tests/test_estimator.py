"The estimators: sktime's own tests, scikit-learn's and sktime's tools, the same training as plain code, reproducibility, bad input."
import pickle
import random
from copy import deepcopy
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import TerminateOnNaNCallback
from fastai.learner import Learner
from fastcore.foundation import L
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold, check_cv, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sktime.benchmarking.classification import ClassificationBenchmark
from sktime.classification.compose import ClassifierPipeline
from sktime.classification.ensemble import BaggingClassifier, WeightedEnsembleClassifier
from sktime.datatypes import convert_to
from sktime.exceptions import NotFittedError
from sktime.regression.compose import RegressorPipeline
from sktime.registry import all_tags
from sktime.transformations.series.exponent import ExponentTransformer
from sktime.utils import check_estimator
from torch import nn

from tsai_rnnattn.data.augment import TSJitter, TSMixUp
from tsai_rnnattn.data.dataset import TSDataset
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.targets import make_targets
from tsai_rnnattn.data.transforms import TSImpute, TSStandardize
from tsai_rnnattn.estimator import RNNAttentionClassifier, RNNAttentionRegressor
from tsai_rnnattn.layers.heads import mean_pool_head
from tsai_rnnattn.models import GRUPlus, LSTMPlus, zoo_models

N, C_IN, SL = 23, 3, 11
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, C_IN, SL)).astype(np.float32)
LABELS = np.array(['x', 'y', 'z'])[np.arange(N) % 3]
NUMBERS = 50 + 10 * X[:, 0].mean(1)
UNEQUAL = [pd.DataFrame(RNG.normal(size=(n, C_IN)), columns=[*'abc'][:C_IN]) for n in RNG.integers(2, SL, N)]
FIXED = dict(arch='GRUAttentionPlus', arch_config=dict(hidden_size=8, n_heads=2, d_ff=11, encoder_layers=1))
both = pytest.mark.parametrize('make,y', [(lambda **k: classifier(**k), LABELS), (lambda **k: regressor(**k), NUMBERS)],
                               ids=['classifier', 'regressor'])

def classifier(**kwargs):
    return RNNAttentionClassifier(**{**dict(arch='GRUPlus', arch_config=dict(hidden_size=5), n_epochs=2, batch_size=7, random_state=0,
                                            device='cpu'), **kwargs})

def regressor(**kwargs):
    return RNNAttentionRegressor(**{**{k: v for k,v in classifier().get_params().items() if k != 'class_weight'}, **kwargs})

def predictions(est, X=X): return est.predict_proba(X) if isinstance(est, RNNAttentionClassifier) else est.predict(X)

def states():
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), kind, keys.tolist(), rest, torch.get_rng_state().tolist()


# sktime's tests
@pytest.mark.parametrize('cls', [RNNAttentionClassifier, RNNAttentionRegressor])
def test_all_tests_of_sktime_pass(cls):
    "Three models each; in a few seconds, so none of them needs a lane of its own"
    results = check_estimator(cls, verbose=False)
    assert len({o.get('arch') for o in cls.get_test_params()}) == 3
    assert len(results) > 150 and not {k: v for k,v in results.items() if v != 'PASSED'}

@pytest.mark.parametrize('cls', [RNNAttentionClassifier, RNNAttentionRegressor])
def test_tags_are_known_to_sktime_and_true(cls):
    kind = cls.get_class_tag('object_type')
    known = {o[0] for o in all_tags(kind)} | {o[0] for o in all_tags('object')} | {o[0] for o in all_tags('estimator')}
    assert not {k for o in cls.__mro__ for k in vars(o).get('_tags', {}) if o.__module__ == cls.__module__} - known
    for tag in ('multivariate', 'unequal_length', 'missing_values', 'random_state'): assert cls.get_class_tag(f'capability:{tag}')
    assert cls.get_class_tag('property:randomness') == 'derandomized' and not cls.get_class_tag('capability:categorical_in_X')
    assert bool(cls.get_class_tag('capability:multioutput')) == (kind == 'regressor')

def test_both_have_the_same_arguments_with_the_same_defaults():
    a, b = (o.get_param_defaults() for o in (RNNAttentionClassifier, RNNAttentionRegressor))
    assert {k: v for k,v in a.items() if k != 'class_weight'} == {k: v for k,v in b.items() if k != 'standardize_y'}


# the same training as plain code
def plain(y, targets, seed, cls=GRUPlus, **kwargs):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    train = TSDataset(X, targets.encode(y), targets=targets)
    dls = TSDataLoaders.from_dsets(train, train.new_empty(), bs=7, batch_tfms=[TSImpute(), TSStandardize()], device='cpu')
    learn = Learner(dls, cls(dls.vars, dls.c, dls.len, hidden_size=5))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 3e-3)
    with learn.no_bar(): return learn.get_X_preds(X)[0]

@pytest.mark.parametrize('arch', ['GRUPlus', GRUPlus, LSTMPlus])
def test_a_classifier_trains_as_plain_code_does(arch):
    seeds = [int(o) for o in np.random.RandomState(3).randint(2**31 - 1, size=2)]
    cls = LSTMPlus if arch is LSTMPlus else GRUPlus
    want = [plain(LABELS, make_targets(LABELS), seed, cls) for seed in seeds]
    est = classifier(arch=arch, lr=3e-3, random_state=3).fit(X, LABELS)
    np.testing.assert_array_equal(est.predict_proba(X), want[0])
    est.set_params(n_estimators=2).fit(X, LABELS)
    np.testing.assert_allclose(est.predict_proba(X), np.mean(want, 0), rtol=1e-6)
    assert len(est.learners_) == 2 and est.learner_ is est.learners_[0]

def test_a_regressor_trains_as_plain_code_does():
    y, seed = NUMBERS.astype(float), int(np.random.RandomState(3).randint(2**31 - 1, size=1)[0])
    for standardize in (False, True):
        est = regressor(lr=3e-3, random_state=3, standardize_y=standardize).fit(X, NUMBERS)
        want = plain(y, make_targets(y, standardize=standardize), seed)
        np.testing.assert_array_equal(est.predict(X), want[:, 0])
    assert abs(est.predict(X).mean() - NUMBERS.mean()) < 5

def test_arguments_reach_the_training():
    base = classifier().fit(X, LABELS)
    assert base.learner_.recorder.values and len(base.learner_.recorder.lrs) == 2 * 4
    for kwargs in (dict(n_epochs=3), dict(batch_size=5), dict(lr=.1), dict(batch_tfms=[]), dict(batch_tfms=[TSStandardize(), TSJitter(.5)]),
                   dict(class_weight=dict(x=1, y=2, z=3)), dict(callbacks=TSMixUp()), dict(valid_pct=.3), dict(n_estimators=2),
                   dict(random_state=1), dict(arch='LSTMPlus'), dict(arch_config=dict(hidden_size=6))):
        est = classifier(**kwargs).fit(X, LABELS)
        assert not np.array_equal(est.predict_proba(X), base.predict_proba(X))
    assert classifier(device='cpu').fit(X, LABELS).learner_.dls.device == torch.device('cpu')

def test_parameters_are_neither_checked_before_fit_nor_changed_by_it():
    head = nn.Sequential(nn.Flatten(), nn.Linear(5 * SL, 3))
    params = dict(arch_config=dict(hidden_size=5, custom_head=head), batch_tfms=[TSImpute(), TSStandardize()],
                  callbacks=[TerminateOnNaNCallback()], class_weight=dict(x=1, y=2, z=3), n_estimators=2)
    weights = deepcopy(head.state_dict())
    est = classifier(**params)
    given = est.get_params()
    est.fit(X, LABELS).predict(X)
    assert all(est.get_params()[k] is v for k,v in given.items())
    assert all(torch.equal(v, head.state_dict()[k]) for k,v in weights.items()) and params['batch_tfms'][0].mean is None
    assert not hasattr(params['callbacks'][0], 'learn') or params['callbacks'][0].learn is None
    heads = [o.model.head for o in est.learners_]
    assert heads[0] is not heads[1] and not torch.equal(heads[0][1].weight, heads[1][1].weight)
    RNNAttentionClassifier(arch=None, n_epochs=-1, lr='x', valid_pct=7)


# randomness
@both
def test_random_state_reproduces_to_the_bit_whatever_the_global_state(make, y):
    kwargs = dict(FIXED, n_estimators=2, valid_pct=.3, batch_tfms=[TSStandardize(), TSJitter()], callbacks=TSMixUp())
    first = predictions(make(**kwargs).fit(X, y))
    torch.manual_seed(1); np.random.seed(1); random.seed(1)
    again = make(**kwargs).fit(X, y)
    np.testing.assert_array_equal(predictions(again), first)
    np.testing.assert_array_equal(predictions(again.fit(X, y)), first)
    np.testing.assert_array_equal(predictions(again.set_params(random_state=np.random.RandomState(0)).fit(X, y)), first)
    assert not np.array_equal(predictions(again.set_params(random_state=1).fit(X, y)), first)

@both
def test_without_random_state_each_fit_is_different(make, y):
    torch.manual_seed(0); np.random.seed(0); random.seed(0)
    first = predictions(make(random_state=None).fit(X, y))
    torch.manual_seed(0); np.random.seed(0); random.seed(0)
    assert not np.array_equal(predictions(make(random_state=None).fit(X, y)), first)

@both
@pytest.mark.parametrize('random_state', [0, None])
def test_global_random_states_stay_as_they_are(make, y, random_state):
    before = states()
    est = make(valid_pct=.3, patience=1, n_estimators=2, random_state=random_state).fit(X, y)
    predictions(est); pickle.loads(pickle.dumps(est)); deepcopy(est)
    assert states() == before
    with pytest.raises(ValueError): make(n_epochs=0).fit(X, y)
    with pytest.raises(ValueError): est.predict(np.full_like(X, np.inf))
    with pytest.raises(TypeError): make(arch_config=dict(hidden=5)).fit(X, y)
    assert states() == before

def test_members_of_a_larger_estimator_begin_with_those_of_a_smaller_one():
    one, three = (classifier(n_estimators=n).fit(X, LABELS) for n in (1, 3))
    probs = []
    for learn in three.learners_:
        with learn.no_bar(): probs.append(learn.get_X_preds(X)[0])
    np.testing.assert_array_equal(probs[0], one.predict_proba(X))
    np.testing.assert_allclose(three.predict_proba(X), np.mean(probs, 0), rtol=1e-6)
    assert not np.array_equal(probs[0], probs[1])


# early stopping
class Seen(Callback):
    "Record the validation loss and the weights of each epoch"
    order = 61
    def before_fit(self):
        if not hasattr(self.learn, 'gather_preds'): self.found, self.kept = [], []
    def after_epoch(self):
        if hasattr(self.learn, 'gather_preds'): return
        self.found.append(self.recorder.values[-1][1]); self.kept.append(deepcopy(self.model.state_dict()))

@both
def test_early_stopping_keeps_the_best_weights(make, y):
    est = make(valid_pct=.4, patience=2, n_epochs=40, lr=.1, callbacks=Seen()).fit(X, y)
    losses, weights = est.learner_.seen.found, est.learner_.seen.kept
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 40
    for k,v in est.learner_.model.state_dict().items(): torch.testing.assert_close(v, weights[best][k], rtol=0, atol=0)
    last = make(valid_pct=.4, n_epochs=5, lr=.1, callbacks=Seen()).fit(X, y).learner_
    assert len(last.seen.found) == 5
    for k,v in last.model.state_dict().items(): torch.testing.assert_close(v, last.seen.kept[-1][k], rtol=0, atol=0)

def test_a_loss_that_is_never_a_number_stops_too():
    class Spoil(Callback):
        order = 59
        def after_epoch(self): self.recorder.values[-1][1] = float('nan')
    est = classifier(valid_pct=.3, patience=2, n_epochs=9, callbacks=Spoil()).fit(X, LABELS)
    assert len(est.learner_.recorder.values) == 3

def test_validation_is_drawn_from_all_classes_and_statistics_are_those_of_training():
    dls = classifier(valid_pct=.3).fit(X, LABELS).learner_.dls
    train, valid = dls.train_ds.rows, dls.valid_ds.rows
    assert len(valid) == 7 and sorted([*train, *valid]) == [*range(N)] and {*LABELS[valid]} == {*LABELS}
    scale = [o for o in dls.train.after_batch.fs if isinstance(o, TSStandardize)][0]
    np.testing.assert_allclose(scale.mean.flatten(), X[train].mean((0, 2)), rtol=1e-4)
    dls = classifier().fit(X, LABELS).learner_.dls
    assert (dls.train.n, dls.valid.n) == (N, 0)


# copies
@both
@pytest.mark.parametrize('kwargs', [{}, FIXED, dict(callbacks=[TSMixUp()]), dict(valid_pct=.3, patience=1, n_estimators=2),
                                    dict(verbose=True)], ids=['plain', 'fixed', 'callbacks', 'members', 'verbose'])
def test_copies_predict_the_same_without_the_training_data(make, y, kwargs, tmp_path, capsys):
    est = make(**kwargs).fit(X, y)
    want = predictions(est)
    joblib.dump(est, tmp_path/'est.joblib')
    est.save(tmp_path/'est')
    copies = [pickle.loads(pickle.dumps(est)), deepcopy(est), joblib.load(tmp_path/'est.joblib'),
              type(est).load_from_path(tmp_path/'est.zip'), type(est).load_from_serial(est.save()[1])]
    for o in [*copies, pickle.loads(pickle.dumps(copies[0]))]:
        np.testing.assert_array_equal(predictions(o), want)
        assert o.learner_.dls.train.n == 0 and o.learner_.opt is None and est.learner_.dls.train.n
        assert all(c.learn is o.learner_ for c in o.learner_.cbs)
    np.testing.assert_array_equal(predictions(copies[0].fit(X, y)), want)

def test_a_pickle_is_small_and_holds_no_series():
    big = np.repeat(X, 40, 0)
    sizes = [len(pickle.dumps(classifier(arch='LSTMPlus').fit(x, np.resize(LABELS, len(x))))) for x in (X, big)]
    assert sizes[1] < sizes[0] + 20_000 < big.nbytes

def test_clone_and_set_params():
    est = classifier(arch_config=dict(hidden_size=4)).fit(X, LABELS)
    other = clone(est)
    assert not other.is_fitted and other.get_params() == est.get_params()
    assert other.set_params(n_epochs=3, arch='LSTMPlus').fit(X, LABELS).learner_.model.__class__ is LSTMPlus


# data
@pytest.mark.parametrize('kind', ['numpy3D', 'nested_univ', 'pd-multiindex', 'df-list'])
@both
def test_containers_give_the_same(make, y, kind):
    want = predictions(make().fit(X, y))
    other = convert_to(X, kind)
    np.testing.assert_allclose(predictions(make().fit(other, y), other), want, rtol=1e-5)

@pytest.mark.parametrize('kind', ['nested_univ', 'pd-multiindex', 'df-list'])
@both
@pytest.mark.parametrize('config', [FIXED, {}, dict(FIXED, arch_config=dict(FIXED['arch_config'], custom_head=mean_pool_head))],
                         ids=['fixed', 'any', 'pooled'])
def test_unequal_length(make, y, kind, config):
    data = convert_to(UNEQUAL, kind)
    est = make(**config).fit(data, y)
    want = predictions(est, data)
    assert est.learner_.dls.train_ds.has_lengths and len(want) == N
    np.testing.assert_allclose(predictions(est, convert_to(UNEQUAL[:5], kind)), want[:5], atol=1e-5, rtol=1e-5)     # with less padding
    assert est.learner_.dls.train_ds.cut == (config is not FIXED)
    longer = RNG.normal(size=(2, C_IN, 3 * SL))
    if config is not FIXED: assert len(est.predict(longer)) == 2
    else:
        text = f'up to {3 * SL} steps, training had at most .*custom_head=mean_pool_head'
        with pytest.raises(ValueError, match=text): est.predict(longer)
        with pytest.raises(ValueError, match='crop them'): pickle.loads(pickle.dumps(est)).predict(longer)

def test_other_steps_than_in_training_of_equal_length_are_refused():
    est = classifier().fit(X, LABELS)
    for x in (X[..., :5], np.concatenate([X, X], 2), X[:, :2]):
        with pytest.raises(ValueError, match=f'expected series of shape .n, c_in={C_IN}, sl={SL}. as in training'): est.predict(x)

def test_columns_are_matched_by_name():
    est = classifier().fit(UNEQUAL, LABELS)
    want = est.predict_proba(UNEQUAL)
    np.testing.assert_array_equal(est.predict_proba([o[[*'cab']] for o in UNEQUAL]), want)
    np.testing.assert_array_equal(est.predict_proba([o.set_axis([*'uvw'], axis=1) for o in UNEQUAL]), want)

@both
def test_missing_values_are_filled_as_by_the_transform(make, y):
    gaps = np.where(np.random.default_rng(1).random(X.shape) < .2, np.nan, X)
    est = make(**FIXED).fit(gaps, y)
    filled = TSImpute(mean=np.nanmean(gaps, (0, 2))).encode(torch.tensor(gaps), None).numpy()
    np.testing.assert_allclose(predictions(est, gaps), predictions(est, filled), rtol=1e-4, atol=1e-5)
    text = 'X is nan in sample .* variable .* step .*TSImpute'
    with pytest.raises(ValueError, match=text): make(batch_tfms=[TSStandardize()]).fit(gaps, y)
    with pytest.raises(ValueError, match='X is nan'): make(batch_tfms=[TSStandardize()]).fit(X, y).predict(gaps)

LABEL_TYPES = dict(str=LABELS, object=LABELS.astype(object), int=np.arange(N) % 3 - 5, int8=(np.arange(N) % 3).astype(np.int8),
                   bool=np.arange(N) % 2 == 0, float=(np.arange(N) % 11) * .5, object_int=(np.arange(N) % 3).astype(object),
                   series=pd.Series(LABELS), categories=pd.Series(LABELS, dtype='category'), column=LABELS[:, None],
                   huge=np.array([2**60, 2**60 + 1])[np.arange(N) % 2], negative_float=np.array([-.5, 10., 9.])[np.arange(N) % 3])
@pytest.mark.parametrize('kind', LABEL_TYPES)
def test_labels_of_any_type(kind):
    y = LABEL_TYPES[kind]
    est = classifier(n_epochs=25, lr=.05, arch_config=dict(hidden_size=31)).fit(X, y)
    flat = np.asarray(y).ravel()
    np.testing.assert_array_equal(est.classes_, np.unique(flat))
    probs, pred = est.predict_proba(X), est.predict(X)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(pred, est.classes_[probs.argmax(1)])
    assert pred.dtype == est.classes_.dtype and (pred == flat).mean() > .9          # it has learned them by heart, in the right order

def test_a_single_class():
    with pytest.warns(UserWarning, match='single label'): est = classifier().fit(X, np.full(N, 'q'))
    assert est.predict(X[:2]).tolist() == ['q', 'q'] and est.predict_proba(X[:2]).tolist() == [[1], [1]]
    est = pickle.loads(pickle.dumps(est))
    assert est.predict(X[:2]).tolist() == ['q', 'q']

def test_class_weights():
    y = np.array(['many'] * 17 + ['few'] * 6)
    loss = lambda w: classifier(class_weight=w).fit(X, y).learner_.loss_func
    torch.testing.assert_close(loss('balanced').func.weight, torch.tensor([N / 12, N / 34]))
    torch.testing.assert_close(loss(dict(many=2, few=.5, none=7)).func.weight, torch.tensor([.5, 2.]))
    assert loss(None).func.weight is None
    preds = [classifier(class_weight=w).fit(X, y).predict_proba(X) for w in ('balanced', dict(few=N / 12, many=N / 34), None)]
    np.testing.assert_allclose(preds[0], preds[1], rtol=1e-5)
    assert not np.allclose(preds[0], preds[2])
    ints = classifier(class_weight={0: 1., 1: 3.}).fit(X, (np.arange(N) % 2).astype(float))
    assert ints.learner_.loss_func.func.weight.tolist() == [1, 3]

def test_several_outputs():
    Y = np.stack([NUMBERS, -NUMBERS], 1)
    est = regressor(n_epochs=30, lr=.03).fit(X, Y)
    pred = est.predict(X)
    assert pred.shape == Y.shape and est.learner_.dls.c == 2 and not hasattr(est, 'regressors_')
    assert np.corrcoef(pred[:, 0], NUMBERS)[0, 1] > .5 and np.corrcoef(pred[:, 1], NUMBERS)[0, 1] < -.5
    frame = regressor(n_epochs=30, lr=.03).fit(X, pd.DataFrame(Y, columns=['u', 'v'])).predict(X)
    np.testing.assert_allclose(frame[['u', 'v']].to_numpy(), pred)
    labels = pd.DataFrame(dict(a=LABELS, b=LABELS == 'x'))
    assert classifier().fit(X, labels).predict(X).shape == (N, 2)                   # sktime fits a classifier for each

def test_y_range_is_in_the_units_of_y():
    for standardize in (True, False):
        est = regressor(arch_config=dict(hidden_size=5, y_range=(48, 52)), standardize_y=standardize, n_epochs=20, lr=.1).fit(X, NUMBERS)
        pred = est.predict(X)
        assert 48 <= pred.min() < pred.max() <= 52
    with pytest.raises(ValueError, match='numbers to predict'): classifier(arch_config=dict(y_range=(0, 1))).fit(X, LABELS)


# tools of scikit-learn and sktime
@both
def test_scikit_learn(make, y):
    est = make()
    assert cross_val_score(est, X, y, cv=3).shape == (3,)
    assert cross_val_predict(est, X, y, cv=3).shape == (N,)
    assert Pipeline([('model', est)]).fit(X, y).predict(X).shape == (N,)
    grid = {'model__arch': ['GRUPlus', 'LSTMPlus'], 'model__arch_config': [dict(hidden_size=3), dict(hidden_size=4)]}
    search = GridSearchCV(Pipeline([('model', est)]), grid, cv=2, n_jobs=2, error_score='raise').fit(X, y)
    alone = GridSearchCV(Pipeline([('model', est)]), grid, cv=2, error_score='raise').fit(X, y)
    np.testing.assert_allclose(search.cv_results_['mean_test_score'], alone.cv_results_['mean_test_score'], rtol=1e-4)
    assert len(search.cv_results_['params']) == 4 and search.predict(X).shape == (N,)
    found = cross_validate(est, X, y, cv=2, n_jobs=2, return_estimator=True, error_score='raise')['estimator']
    assert all(o.predict(X).shape == (N,) for o in found)

def test_calibration():
    for kwargs in (dict(cv=3), dict(cv=3, ensemble=False, method='isotonic')):
        probs = CalibratedClassifierCV(classifier(), **kwargs).fit(X, LABELS).predict_proba(X)
        assert probs.shape == (N, 3)
        np.testing.assert_allclose(probs.sum(1), 1)

def test_sktime():
    for est in (ClassifierPipeline(classifier(), [ExponentTransformer(2)]), ExponentTransformer(2) * classifier(),
                BaggingClassifier(classifier(), n_estimators=3, random_state=0),
                WeightedEnsembleClassifier([('a', classifier()), ('b', classifier(arch='LSTMPlus'))], cv=2, random_state=0)):
        probs = est.fit(X, LABELS).predict_proba(X)
        assert probs.shape == (N, 3)
        np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    assert RegressorPipeline(regressor(), [ExponentTransformer(2)]).fit(X, NUMBERS).predict(X).shape == (N,)
    pipe = ClassifierPipeline(classifier(), [ExponentTransformer(2)]).set_params(classifier__arch='LSTMPlus').fit(X, LABELS)
    assert isinstance(pipe.classifier_.learner_.model, LSTMPlus)

def test_scikit_learn_knows_the_kind_of_estimator():
    assert is_classifier(classifier()) and is_regressor(regressor()) and not is_classifier(regressor())
    assert get_tags(regressor()).target_tags.multi_output and get_tags(classifier()).input_tags.allow_nan
    assert isinstance(check_cv(3, LABELS, classifier=is_classifier(classifier())), StratifiedKFold)

def test_benchmarking_of_sktime():
    from sklearn.metrics import accuracy_score
    bench = ClassificationBenchmark()
    bench.add_estimator(classifier())
    bench.add_task(lambda: (X, LABELS), KFold(2, shuffle=True, random_state=0), [accuracy_score])
    assert len(bench.run(None)) == 1

def test_folds_may_lack_a_class():
    y = np.array(['a'] * 12 + ['b'] * 11)
    y[0] = 'rare'
    with pytest.warns(UserWarning, match='single label'): scores = cross_val_score(classifier(), X, y, cv=KFold(2), error_score='raise')
    assert np.isfinite(scores).all()


# models
class Own(nn.Module):
    def __init__(self, c_in, c_out, seq_len, width=3):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(c_in * seq_len, width), nn.ReLU(), nn.Linear(width, c_out))
    def forward(self, x): return self.layers(x)

@both
def test_a_class_of_your_own(make, y):
    est = make(arch=Own, arch_config=dict(width=7)).fit(X, y)
    assert len(est.predict(X)) == N and est.learner_.model.layers[1].out_features == 7
    with pytest.raises(ValueError, match='Own takes no lengths: expected series of equal length, got'):
        make(arch=Own, arch_config={}).fit(UNEQUAL, y)

@pytest.mark.parametrize('arch', [k for k,o in zoo_models.items() if o.reads == 'series'])
def test_each_model_of_the_zoo(arch):
    config = FIXED['arch_config'] if 'Attention' in arch else dict(hidden_size=5)
    for data in (X, UNEQUAL):
        est = classifier(arch=arch, arch_config=config, n_epochs=1).fit(data, LABELS)
        assert type(est.learner_.model).__name__ == arch and est.predict_proba(data).shape == (N, 3)


# errors
SIZES = 'n_epochs', 'batch_size', 'n_estimators'
SET_BY_US = 'd', 'c_in', 'c_out', 'seq_len', 'stateful'
BAD = [(dict(arch='GRUAtention'), ValueError, "Did you mean 'GRUAttentionPlus'"),
       (dict(arch='RNNClassifier'), ValueError, 'reads token ids'),
       (dict(arch=7), TypeError, 'arch=7: must be a name'), (dict(arch=nn.Linear(2, 3)), TypeError, 'must be a name such as'),
       (dict(arch=nn.Linear), TypeError, 'no argument c_out'), (dict(arch_config=[5]), TypeError, 'must be a dict'),
       (dict(arch_config=dict(hidden=5)), TypeError, "no argument 'hidden'"),
       (dict(arch_config=dict(hidden_size=0)), ValueError, 'hidden_size=0'),
       *((dict(arch_config={k: 3}), ValueError, f"arch_config has .'{k}'.: leave") for k in SET_BY_US),
       *((dict([(k, v)]), ValueError, f'{k}={v}: must be an integer ≥ 1') for k in SIZES for v in (0, -1, 1.5)),
       (dict(lr=0), ValueError, 'lr=0: must be a number > 0'), (dict(lr='x'), ValueError, 'lr='), (dict(lr=np.inf), ValueError, 'lr=inf'),
       (dict(valid_pct=1), ValueError, 'valid_pct=1: must be'), (dict(valid_pct=-.1), ValueError, 'valid_pct='),
       (dict(valid_pct='a'), ValueError, 'valid_pct='),
       (dict(valid_pct=.05), ValueError, 'valid_pct=0.05: .*too few for 3 classes: pass valid_pct=0, or change'),
       (dict(patience=3), ValueError, 'requires a validation part; pass valid_pct=0.2'),
       (dict(patience=0, valid_pct=.2), ValueError, 'patience=0'),
       (dict(class_weight='much'), ValueError, "must be 'balanced', a dict"),
       (dict(class_weight=dict(x=1)), ValueError, "no weight for the label 'y'"),
       *((dict(batch_tfms=o), TypeError, 'must be a list of transforms') for o in ('x', [5], TSStandardize())),
       (dict(callbacks=5), TypeError, 'callbacks has 5'), (dict(random_state='a'), ValueError, 'cannot be used to seed')]
@pytest.mark.parametrize('kwargs,error,text', BAD, ids=lambda o: str(o)[:40])
def test_bad_arguments_are_refused_in_fit(kwargs, error, text, capsys):
    with pytest.raises(error, match=text): classifier(**kwargs).fit(X, LABELS)
    assert capsys.readouterr().out == ''

def test_bad_data_is_refused():
    spoilt = X.copy()
    spoilt[4, 2, 6] = np.inf
    with pytest.raises(ValueError, match='X is inf in sample 4, variable 2, step 6'): classifier().fit(spoilt, LABELS)
    with pytest.raises(ValueError, match='X is inf in sample 4'): classifier().fit(X, LABELS).predict(spoilt)
    with pytest.raises(ValueError, match='target of sample 2 is nan'): regressor().fit(X, np.where(np.arange(N) == 2, np.nan, NUMBERS))
    with pytest.raises(ValueError, match='Mismatch in number of cases'): classifier().fit(X, LABELS[1:])
    with pytest.raises(TypeError, match='categorical'): classifier().fit([o.assign(b='text') for o in UNEQUAL], LABELS)
    with pytest.raises(ValueError, match='only one sample.*pass valid_pct=0'): classifier(valid_pct=.3).fit(X, np.r_[['only'], LABELS[1:]])
    with pytest.raises(NotFittedError): _ = classifier().learner_
    with pytest.raises(NotFittedError): classifier().predict(X)


# what is left behind
@both
def test_no_files_and_no_output(make, y, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    est = make(valid_pct=.3, patience=1, n_estimators=2, callbacks=L(TSMixUp())).fit(X, y)
    est.predict(X), est.score(X, y), pickle.dumps(est)
    assert capsys.readouterr() == ('', '') and not [*tmp_path.iterdir()]

def test_verbose_shows_the_table(capsys):
    classifier(verbose=True, valid_pct=.3).fit(X, LABELS)
    out = capsys.readouterr().out
    assert all(o in out for o in ('train_loss', 'valid_loss', 'accuracy'))

@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu():
    before = states(), torch.cuda.get_rng_state().tolist()
    est = classifier(device='cuda').fit(X, LABELS)
    assert next(est.learner_.model.parameters()).is_cuda
    np.testing.assert_allclose(pickle.loads(pickle.dumps(est)).predict_proba(X), est.predict_proba(X), atol=1e-5)
    assert (states(), torch.cuda.get_rng_state().tolist()) == before

def test_it_learns():
    y = np.where(X[:, 0].mean(1) > np.median(X[:, 0].mean(1)), 'high', 'low')
    big = np.concatenate([X] * 3)
    for kwargs in (dict(FIXED, lr=1e-2), dict(lr=.03)):
        assert classifier(**kwargs, n_epochs=25).fit(big, np.tile(y, 3)).score(X, y) == 1
    assert regressor(n_epochs=60, lr=.03).fit(X, NUMBERS).score(X, NUMBERS) > .8

def test_partial_heads_work_with_workers():
    config = dict(hidden_size=5, custom_head=partial(mean_pool_head, fc_dropout=.1))
    assert cross_val_score(classifier(arch_config=config), X, LABELS, cv=2, n_jobs=2, error_score='raise').shape == (2,)
