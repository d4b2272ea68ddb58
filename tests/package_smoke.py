"Import, train one epoch, save, export and predict with the installed package: `make test-package` runs this outside the checkout."
import json
import subprocess
import sys
import warnings
from pathlib import Path


def check_light_imports():
    import tsai_rnnattn.export
    import tsai_rnnattn.models
    assert Path(tsai_rnnattn.__file__).is_relative_to(sys.prefix), f'imported {tsai_rnnattn.__file__}, expected the installed package'
    assert 'fastai' not in sys.modules, 'tsai_rnnattn.export or tsai_rnnattn.models imports fastai'


def check_training(fname):
    import tsai_rnnattn.all as ts
    from tsai_rnnattn.export import load_model, save_model
    ts.set_seed(42)
    dls = ts.TSDataLoaders.from_ucr('BasicMotions', bs=16)
    learn = ts.Learner(dls, ts.GRUAttentionPlus(dls.vars, dls.c, dls.len), metrics=ts.accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
    learn.export(fname)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='load_learner. uses Python')
        loaded = ts.load_learner(fname)
    _, _, X, _ = ts.get_UCR_data('BasicMotions')
    with learn.no_bar(), loaded.no_bar(): (label, _, probs), (loaded_label, _, loaded_probs) = learn.predict(X[0]), loaded.predict(X[0])
    assert label == loaded_label and label in dls.vocab
    ts.torch.testing.assert_close(loaded_probs, probs)
    model = load_model(save_model(learn, fname.with_name('model')))
    assert model.predict(X[:1]) == [label]
    ts.np.testing.assert_allclose(model.predict_proba(X[:1])[0], probs, atol=1e-5)
    print(f'Predicted {label} with probability {probs.max():.2f} after one epoch.')


def check_commands():
    scripts = Path(sys.executable).parent
    rows = json.loads(subprocess.run([scripts/'rnnattn_models', '--json'], check=True, capture_output=True, text=True).stdout)
    assert 'GRUAttentionPlus' in [o['name'] for o in rows]
    for o in ('train', 'predict', 'datasets'): subprocess.run([scripts/f'rnnattn_{o}', '--help'], check=True, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
    check_light_imports()
    check_commands()
    check_training(Path('learner.pkl').absolute())
