"The command line: interrupted runs, files, exit status, output, and all kinds of data."
import errno
import json
import multiprocessing
import os
import pty
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.test_package import CFG
from tsai_rnnattn import cli, files, runs
from tsai_rnnattn.models import build_config, model_config, zoo_models, zoo_table

TINY = ['--arch_config', 'hidden_size=8,n_heads=2,d_ff=11,encoder_layers=1']
BUNDLED = ['ItalyPowerDemand', *TINY, '--bs', '16']
ECG200 = next((p for o in os.environ.get('TSAI_RNNATTN_DATA', '').split(os.pathsep)
               if o and (p := Path(o)/'ECG200').is_dir()), None)
FILES = ['attention_map.png', 'confusion_matrix.png', 'history.csv', 'learning_curve.png', 'metrics.csv', 'model', 'run.json']

PROCESSES = multiprocessing.get_context('forkserver')                    # imports once, then forks a process for each run
PROCESSES.set_forkserver_preload(['tests.test_cli'])

def _train(args, output, max_bytes, kill):
    "The command `rnnattn_train` in a process of its own, which writes to the file or terminal `output`"
    signal.signal(signal.SIGINT, signal.default_int_handler)     # a shell ignores it in what it runs in the background
    if kill: kill_in(*kill)
    fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for o in (sys.stdout, sys.stderr): os.dup2(fd, o.fileno())
    torch.set_num_threads(1)
    if max_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    sys.argv[1:] = args
    cli.rnnattn_train()

def kill_in(module, name, n):
    "Let call `n` of a function kill the process"
    module, calls = import_module(module), iter(range(n))
    old = getattr(module, name)
    def new(*args): next(calls, None) is None and os.kill(os.getpid(), signal.SIGKILL); return old(*args)
    setattr(module, name, new)

def start(args, output, max_bytes=None, kill=None):
    process = PROCESSES.Process(target=_train, args=(list(map(str, args)), str(output), max_bytes, kill))
    process.start()
    return process

def finish(args, output, **kw):
    process = start(args, output, **kw)
    process.join(120)
    return process.exitcode

def wait_for(condition, process):
    while not condition():
        assert process.is_alive(), 'the process ended too early'
        time.sleep(.002)

def epoch_of(folder): return (runs.read_checkpoint(folder) or dict(epoch=0))['epoch']

def run(func, *args):
    "The exit status of a command in this process"
    try: return cli.run_command(func, [str(o) for o in args])
    except SystemExit as e: return e.code

@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TSAI_RNNATTN_CACHE', str(tmp_path/'cache'))
    return tmp_path

# Interruptions

def kill_often(args, kills, seed):
    "Train, killed `kills` times at random moments, and once more undisturbed"
    rng, epoch = random.Random(seed), 0
    for k in range(kills):
        process = start([*args, '--out', 'parts', '--resume'], 'parts.log')
        if k: wait_for(lambda epoch=epoch: epoch_of('parts') > epoch, process)    # so that each process gets ahead
        time.sleep(rng.uniform(0, .05 if k else .3))
        process.kill(); process.join()
        assert process.exitcode == -signal.SIGKILL
        epoch = epoch_of('parts')
        assert printed_epochs('parts.log') <= epoch                      # no more than the epoch that was under way is lost
    assert finish([*args, '--out', 'parts', '--resume'], 'parts.log') == 0
    return epoch

def printed_epochs(log):
    text = Path(log).read_text() if Path(log).exists() else ''           # none if the process was killed at its start
    return max(map(int, re.findall(r'^ +(\d+) ', text, re.M)), default=0)

def assert_same_run():
    "The folders `whole` and `parts` have the same files, with the same weights and numbers"
    for o in (Path('whole'), Path('parts')): assert sorted(f.name for f in o.iterdir()) == FILES
    for name in ('history.csv', 'metrics.csv', 'model/config.json', 'model/model.safetensors'):
        assert Path('parts', name).read_bytes() == Path('whole', name).read_bytes()

def test_a_run_that_is_killed_often_ends_like_one_without_interruption():
    args = [*BUNDLED, '--epochs', 60]
    assert finish([*args, '--out', 'whole'], 'whole.log') == 0
    assert 0 < kill_often(args, 4, seed=1) < 60
    assert_same_run()

@pytest.mark.skipif(ECG200 is None, reason='no directory of TSAI_RNNATTN_DATA has ECG200')
def test_ecg200_killed_ten_times():
    args = [ECG200, '--epochs', 30, '--bs', 16, '--arch_config', 'hidden_size=32,n_heads=4,encoder_layers=1']
    assert finish([*args, '--out', 'whole'], 'whole.log') == 0
    assert 0 < kill_often(args, 10, seed=2) < 30
    assert_same_run()
    assert run(cli.predict, 'parts', ECG200) == 0
    assert len(pd.read_csv('preds.csv')) == 100

@pytest.mark.parametrize('signum,status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_a_run_that_continues(signum, status):
    args = [*BUNDLED, '--epochs', 30, '--out', 'parts']
    process = start(args, 'parts.log')
    wait_for(lambda: epoch_of('parts') > 1, process)
    os.kill(process.pid, signum)
    process.join(60)
    assert process.exitcode == status
    assert Path('parts.log').read_text().splitlines()[-1] == 'rnnattn_train: interrupted; pass --resume to continue a training run'
    assert sorted(o.name for o in Path('parts').iterdir()) == ['checkpoint.pt', 'history.csv', 'run.json']
    assert 1 < epoch_of('parts') < 30

def test_a_full_disk_leaves_a_run_that_continues():
    args = [*BUNDLED, '--epochs', 3]
    assert finish([*args, '--out', 'whole'], 'whole.log') == 0
    assert finish([*args, '--out', 'parts'], 'full.log', max_bytes=20_000) == 1      # enough for the settings, not for weights
    assert re.fullmatch(r'rnnattn_train: .*File too large.*', Path('full.log').read_text().splitlines()[-1])
    assert [o.name for o in Path('parts').iterdir()] == ['run.json']
    assert finish([*args, '--out', 'parts', '--resume'], 'parts.log') == 0
    assert_same_run()

@pytest.mark.parametrize('call', [('tsai_rnnattn.export', 'write_whole', 1), ('os', 'rename', 1), ('shutil', 'rmtree', 0),
                                  ('tsai_rnnattn.runs', 'evaluate', 0)], ids=lambda o: o[1])
def test_a_run_killed_while_it_saves_the_model_continues(call):
    args = [*BUNDLED, '--epochs', 1, '--out', 'parts', '--resume']
    Path('parts/model').mkdir(parents=True)                              # as a run that `--force` began again leaves it
    assert finish(args, 'parts.log', kill=call) == -signal.SIGKILL
    assert epoch_of('parts') == 1 and not Path('parts/metrics.csv').exists()
    before = Path('parts/history.csv').read_bytes()
    assert finish(args, 'parts.log') == 0
    assert sorted(o.name for o in Path('parts').iterdir()) == FILES and Path('parts/history.csv').read_bytes() == before
    assert sorted(o.name for o in Path('parts/model').iterdir()) == ['config.json', 'model.safetensors']
    assert run(cli.predict, 'parts', 'ItalyPowerDemand') == 0

def test_a_model_that_cannot_be_written_leaves_a_run_that_continues(capsys, monkeypatch):
    def fail(*args): raise OSError(errno.ENOSPC, 'No space left on device')
    args = [*BUNDLED, '--epochs', 1, '--out', 'parts']
    with monkeypatch.context() as m:
        m.setattr('tsai_rnnattn.export.write_whole', fail)
        assert run(cli.train, *args) == 1
    assert 'No space left on device' in capsys.readouterr().err
    assert sorted(o.name for o in Path('parts').iterdir()) == sorted({*FILES, 'checkpoint.pt'} - {'model', 'metrics.csv'})
    assert run(cli.train, *args, '--resume') == 0 and sorted(o.name for o in Path('parts').iterdir()) == FILES

# The folder of a run

def test_the_folder_of_a_run(capsys):
    args = [*BUNDLED, '--epochs', 1]
    assert run(cli.train, *args) == 0
    assert sorted(o.name for o in Path('run').iterdir()) == FILES
    before = Path('run/history.csv').read_text()
    Path('run/notes.txt').write_text('mine')
    capsys.readouterr()
    for more,hint in [((), 'pass --resume'), (('--resume', '--seed', 1), 'the run has --seed 42, not 1'),
                      (('--resume', '--force'), 'choose one')]:
        assert run(cli.train, *args, *more) == 2 and hint in capsys.readouterr().err
    with files.locked('run'): assert run(cli.train, *args, '--force') == 2
    assert 'in use by another process' in capsys.readouterr().err
    assert run(cli.train, *args, '--resume') == 0 and 'is finished' in capsys.readouterr().out
    assert Path('run/history.csv').read_text() == before
    assert run(cli.train, *args, '--seed', 1, '--force') == 0
    assert Path('run/notes.txt').read_text() == 'mine' and Path('run/history.csv').read_text() != before
    saved = json.loads(Path('run/run.json').read_text())
    assert saved['settings']['seed'] == 1 and saved['versions']['torch'] == torch.__version__ and len(saved['data']) == 64

def test_other_data_is_refused(capsys):
    df = wide(30)
    df.to_csv('a.csv', index=False)
    args = ['a.csv', '--label', 'label', *TINY, '--epochs', 1]
    assert run(cli.train, *args) == 0
    df.loc[7, 's3'] += 1e-6
    df.to_csv('a.csv', index=False)
    assert run(cli.train, *args, '--resume') == 2 and 'the data is not that of the run' in capsys.readouterr().err

def test_a_checkpoint_that_could_run_code_is_refused(capsys):
    class Evil:
        def __reduce__(self): return Path.touch, (Path('evil'),)
    args = [*BUNDLED, '--epochs', 1, '--resume']
    Path('run').mkdir()
    torch.save(Evil(), 'run/checkpoint.pt')
    assert run(cli.train, *args) == 2 and 'checkpoint.pt is damaged' in capsys.readouterr().err
    assert not Path('evil').exists()

def test_a_history_that_lacks_the_last_epoch_is_written_again():
    "As if the process had ended between `checkpoint.pt` and `history.csv`, after the last epoch"
    assert train('GunPoint') == 0
    whole = Path('run/history.csv').read_text()
    learn = cli.make_learner(cli.read_data(settings := cli.read_run('run')['settings']), settings)
    runs.train_in_folder(learn, 'run', 8, 1e-2)
    Path('run/history.csv').write_text('\n'.join(whole.splitlines()[:-1]) + '\n')
    learn = cli.make_learner(cli.read_data(settings), settings)
    runs.train_in_folder(learn, 'run', 8, 1e-2)
    assert Path('run/history.csv').read_text() == whole

def test_a_file_of_an_archive_is_predicted():
    assert train('GunPoint') == 0
    path = Path(find_spec('sktime').origin).parent/'datasets/data/GunPoint/GunPoint_TEST.ts'
    assert run(cli.predict, 'run', path, '--out', 'a.csv') == run(cli.predict, 'run', 'GunPoint') == 0
    assert Path('a.csv').read_text() == Path('preds.csv').read_text()

def test_a_file_is_written_whole_or_not_at_all(monkeypatch):
    files.write_whole('a.txt', 'old')
    def fail(fd): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space left'): files.write_whole('a.txt', 'new')
    assert Path('a.txt').read_text() == 'old' and os.listdir() == ['a.txt']

# Output

def test_a_terminal_gets_a_progress_bar():
    reader, terminal = pty.openpty()
    process = start([*BUNDLED, '--epochs', 2], os.ttyname(terminal))
    text = read_all(reader, process)
    os.close(terminal)
    assert process.exitcode == 0 and '█' in text and 'epoch 2/2' in text
    shown = [line.split('\r')[-1] for line in text.split('\r\n')]       # what stays on the screen
    assert [o.split()[0] for o in shown if re.match(r' +\d', o)] == ['1', '2']

def read_all(fd, process):
    data = b''
    while select.select([fd], [], [], .2)[0] or process.is_alive():
        if select.select([fd], [], [], 0)[0]: data += os.read(fd, 4096)
    return data.decode()

def test_a_pipe_gets_plain_lines():
    code = 'from tsai_rnnattn.cli import rnnattn_train; rnnattn_train()'
    def command(*args): return subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True)
    done = command(*BUNDLED, '--epochs', '2')
    assert done.returncode == 0 and not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', done.stdout) and done.stderr == ''
    lines = done.stdout.splitlines()
    assert lines[1].split() == ['epoch', 'train_loss', 'valid_loss', 'accuracy', 'time']
    assert [o.split()[0] for o in lines[2:4]] == ['1', '2']
    assert [o.split()[0] for o in lines[4:8]] == ['split', 'train', 'valid', 'test']
    refused = command(*BUNDLED)
    assert refused.returncode == 2 and refused.stdout == ''
    assert refused.stderr == 'rnnattn_train: run exists: pass --resume to continue its run, --force to start again, or another --out\n'

def test_models_are_listed_without_the_training_library():
    code = "import sys; from tsai_rnnattn.cli import run_command, models; run_command(models, ['--json']); " \
           "print([m for m in ('fastai', 'pandas', 'matplotlib', 'sktime', 'torch._dynamo') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert json.loads(done.stdout) == zoo_table() and done.stderr == '[]\n'

@pytest.mark.parametrize('data', ('GunPoint', 'waves.csv'))
def test_predictions_need_no_training_library(data):
    pd.DataFrame(np.random.default_rng(0).normal(size=(20, 9))).assign(label=list('ab') * 10).to_csv('waves.csv', index=False)
    assert train(data, *(['--label', 'label'] if data == 'waves.csv' else [])) == 0
    code = f"import sys; from tsai_rnnattn.cli import run_command, predict; run_command(predict, ['run', {data!r}]); " \
           "print([m for m in ('fastai', 'matplotlib', 'sktime', 'sklearn', 'torch._dynamo') if m in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == '[]' and done.stderr == ''

def test_tables(capsys):
    assert run(cli.models) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [o.split()[0] for o in rows] == ['name', *(o['name'] for o in zoo_table())]
    assert run(cli.datasets) == 0 and 'BasicMotions' in capsys.readouterr().out

def test_entry_points_exist():
    scripts = dict(o.split('=') for o in CFG['console_scripts'].split())
    assert [*scripts] == [f'rnnattn_{o}' for o in ('train', 'predict', 'datasets', 'models')]
    for name,place in scripts.items():
        module, _, attr = place.partition(':')
        assert getattr(import_module(module), attr).args[0].__name__ == name.removeprefix('rnnattn_')

def test_help_comes_from_the_comments(capsys):
    assert run(cli.train, '--help') == 0
    out = capsys.readouterr().out
    assert 'largest learning rate (default: 0.001)' in out and '(default: )' not in out

# Data

def wide(n, steps=7, seed=0):
    "A row per series: a rising or a falling line with noise, or its slope"
    rng = np.random.default_rng(seed)
    slope = np.where(np.arange(n) % 2, 1, -1) * rng.uniform(1, 2, n)
    X = slope[:, None] * np.linspace(-1, 1, steps) + rng.normal(0, .1, (n, steps))
    return pd.DataFrame({**{f's{i}': X[:, i] for i in range(steps)}, 'label': np.where(slope > 0, 'up', 'down'), 'slope': slope})

def long(n, equal=True):
    "A row per step of two variables, the second of which says nothing"
    rng, df = np.random.default_rng(1), wide(n, 11)
    steps = [11 if equal else 5 + i % 7 for i in range(n)]
    return pd.DataFrame([dict(id=f'n{i}', t=t, v=df.loc[i, f's{t}'], noise=rng.normal(), label=df.label[i])
                         for i in range(n) for t in range(steps[i])])

def train(*args): return run(cli.train, *args, *(TINY if '--arch_config' not in args else []), '--epochs', 8, '--lr', 1e-2, '--bs', 8)

def test_a_row_per_series(capsys):
    wide(40).drop(columns='slope').to_csv('a.csv', index=False)
    assert train('a.csv', '--label', 'label', '--metrics', 'accuracy,f1,balanced_accuracy') == 0
    assert list(pd.read_csv('run/metrics.csv')) == ['split', 'samples', 'loss', 'accuracy', 'f1_score', 'balanced_accuracy_score']
    new = wide(13, seed=1)
    new[[f's{i}' for i in reversed(range(7))]].to_csv('new.csv', index=False)        # neither labels nor the same order
    assert run(cli.predict, 'run', 'new.csv') == 0 and 'Accuracy' not in capsys.readouterr().out
    df = pd.read_csv('preds.csv')
    assert list(df) == ['case', 'prediction', 'p_down', 'p_up'] and len(df) == 13
    assert (df.prediction == new.label).all() and np.allclose(df.p_down + df.p_up, 1, atol=1e-6)

def test_numbers_to_predict(capsys):
    wide(40).drop(columns='label').to_csv('a.csv', index=False)
    assert train('a.csv', '--label', 'slope', '--normalize', 'robust') == 0
    assert list(pd.read_csv('run/metrics.csv')) == ['split', 'samples', 'loss', 'mae', 'rmse']
    assert not Path('run/confusion_matrix.png').exists() and Path('run/attention_map.png').exists()
    assert run(cli.predict, 'run', 'a.csv') == 0 and 'Mean absolute error' in capsys.readouterr().out
    df = pd.read_csv('preds.csv')
    assert list(df) == ['case', 'prediction'] and np.corrcoef(df.prediction, wide(40).slope)[0, 1] > .8

def test_a_row_per_step_of_unequal_length():
    long(30, equal=False).sample(frac=1, random_state=0).to_csv('a.csv', index=False)
    assert train('a.csv', '--label', 'label', '--id', 'id', '--time', 't') == 0
    new = long(5)[['noise', 't', 'v', 'id', 'label']]                    # its columns in another order
    longer = pd.concat([new, *(new[new.t == 10].assign(t=t) for t in (11, 12))])
    for name,o in dict(new=new, longer=longer).items(): o.to_csv(f'{name}.csv', index=False)
    for name in ('new', 'longer'): assert run(cli.predict, 'run', f'{name}.csv', '--out', f'preds_{name}.csv') == 0
    df = pd.read_csv('preds_new.csv')
    assert df.case.tolist() == [f'n{i}' for i in range(5)] and (df.prediction == wide(5, 11).label).all()
    assert len(pd.read_csv('preds_longer.csv')) == 5

@pytest.mark.parametrize('arch', ['AttentiveRNNPlus', 'GRUPlus'])
def test_other_models(arch):
    wide(30).drop(columns='slope').to_csv('a.csv', index=False)
    config = 'hidden_size=8' + (',stateful=True' if arch == 'GRUPlus' else '')
    assert train('a.csv', '--label', 'label', '--arch', arch, '--arch_config', config) == 0
    assert Path('run/attention_map.png').exists() == (arch == 'AttentiveRNNPlus')

@pytest.mark.parametrize('arch', ['GRUPlus', 'GRUAttentionPlus'])
def test_the_attention_of_a_head_is_drawn(arch):
    wide(30).drop(columns='slope').to_csv('a.csv', index=False)
    small = ',n_heads=2,d_ff=11,encoder_layers=1' if arch == 'GRUAttentionPlus' else ''
    assert train('a.csv', '--label', 'label', '--arch', arch, '--arch_config', f'hidden_size=8,custom_head=attention{small}') == 0
    assert Path('run/attention_map.png').exists()

def test_missing_values(capsys):
    df = wide(30).drop(columns='slope')
    df.loc[3, 's2'] = np.nan
    df.to_csv('a.csv', index=False)
    assert train('a.csv', '--label', 'label') == 2 and 'series 3 has missing values' in capsys.readouterr().err
    assert train('a.csv', '--label', 'label', '--impute') == 0
    assert run(cli.predict, 'run', 'a.csv') == 0

@pytest.mark.parametrize('arch', ['AttentiveRNN', 'RNNClassifier'])
def test_texts(arch):
    pytest.importorskip('tokenizers')
    words = {'good': 'great fine'.split(), 'bad': 'awful dull'.split()}
    rows = [dict(text=f'{a}, an {b} film', label=k) for k,v in words.items() for a in v for b in [*v, 'NA', 'null'] for _ in range(3)]
    pd.DataFrame(rows).to_csv('a.csv', index=False)
    config = 'hidden_dim=8,n_layers=1' if arch == 'AttentiveRNN' else 'hidden_size=8'
    assert train('a.csv', '--text', 'text', '--label', 'label', '--arch', arch, '--arch_config', config) == 0
    assert Path('run/attention_map.png').exists() == (arch == 'AttentiveRNN')
    assert run(cli.predict, 'run', 'a.csv') == 0 and len(pd.read_csv('preds.csv')) == len(rows)

# The model

def make_model(name, config):
    "A model for series or texts of small sizes"
    ds = SimpleNamespace(has_lengths=False) if zoo_models[name].reads == 'series' else SimpleNamespace(tokenizer=None)
    dls = SimpleNamespace(train_ds=ds, padding_idx=0, d=None, vocab_size=13, vars=3, c=5, len=11)
    return cli.make_model(dls, zoo_models[name], cli.parse_config(config))

VALUES = [
    'act=leaky_relu', 'attn_concatenate=False', 'attn_dropout=0.4', 'bias=False', 'bidirectional=True', 'causal=True', 'd_ff=7', 'd_k=5',
    'd_v=7', 'd=(2,3)', 'embed_dim=6', 'embed_dropout=0.2', f'embed_matrix={[[1, 2, 3]]*13}', 'embed_trainable=False',
    'encoder_dropout=0.3', 'encoder_layers=1', 'fc_dropout=0.1', 'flatten=False', 'head_activation=tanh,head_hidden_dims=[8]',
    'head_batchnorm=True,head_hidden_dims=[8]', 'head_batchnorm_last=True,head_hidden_dims=[8]',
    'head_dropout=[0.1,0.2],head_hidden_dims=[8,7]', 'head_linear_first=True,head_hidden_dims=[8]', 'hidden_dim=8', 'hidden_size=16',
    'init_weights=False', 'last_step=False', 'mask_padding=False', 'n_heads=2', 'n_layers=2', 'norm=layer', 'padding_idx=3',
    'rnn_dropout=0.2', 'rnn_layers=2', 'rnn_type=gru', 'stateful=True', 'token_dropout=0.1', 'use_bn=False', 'use_hidden_state=False',
    'y_range=(0,1)']

def test_there_is_a_value_for_each_argument():
    takes = {k for o in zoo_models.values() for k in signature(o.model).parameters}
    assert takes - {k for o in VALUES for k in cli.parse_config(o)} == {'c_in', 'c_out', 'seq_len', 'vocab_size', 'custom_head', 'rnn_init'}

@pytest.mark.filterwarnings('ignore:dropout option adds dropout')
@pytest.mark.parametrize('name', zoo_models)
def test_a_model_from_the_command_line_can_be_saved(name):
    heads = [f'custom_head={o}' for o in cli._heads if name != 'RNNClassifier' or o != 'flatten']
    for config in [o for o in VALUES + heads if all(map(zoo_models[name].takes, cli.parse_config(o)))]:
        model = make_model(name, config)
        assert str(build_config(json.loads(json.dumps(model_config(model))))) == str(model)

def test_what_cannot_be_saved_is_refused_before_training(capsys):
    assert run(cli.train, *BUNDLED[:-1], 8, '--arch_config', "use_bn={1}") == 2
    assert 'can be saved only if' in capsys.readouterr().err and not Path('run').exists()

# Wrong usage

@pytest.mark.parametrize('args,hint', [
    ('BasicMotion', "Did you mean 'BasicMotions'"), ('no/such', 'no such file or folder'), ('empty', 'has no file empty_TRAIN.ts'),
    ('a.csv', 'requires --label'), ('a.txt --label y', 'expected a CSV'), ('a.csv --label labels', "Did you mean 'label'"),
    ('a.csv --label label --time s1', 'with --id'), ('a.csv --label label --values s1,s9', 's9'),
    ('a.csv --label label --task x', 'classification or regression'), ('a.csv --label label --task regression', 'could not convert'),
    ('a.csv --label label --text label --id s1', 'leave out --id'), ('GunPoint --label y', '--label is for a CSV file'),
    ('GunPoint --arch GRUPlu', "Did you mean 'GRUPlus'"), ('GunPoint --arch RNNClassifier', 'reads token ids'),
    ('GunPoint --arch_config hidden', 'expected name=value'), ('GunPoint --arch_config {"a":', 'not valid JSON'),
    ('GunPoint --arch_config heads=3', "no argument 'heads'"), ('GunPoint --arch_config custom_head=x', 'must be one of'),
    ('GunPoint --arch_config hidden_size=-1', 'hidden_size=-1'), ('GunPoint --epochs 0', 'epochs=0'),
    ('GunPoint --epochs x', 'rnnattn_train --help'), ('GunPoint --lr nan', '--lr'), ('GunPoint --bs 0', 'bs=0'),
    ('GunPoint --seed -1', '--seed -1'), ('GunPoint --valid_pct 1', 'valid_pct'), ('GunPoint --metrics mae', '--metrics mae'),
    ('GunPoint --normalize x', '--normalize x'), ('', 'data'), ('GunPoint --out a.csv', 'is a file'),
    ('GunPoint --out /proc/run', '/proc/run'), ('GunPoint --out a.csv/run', 'a.csv')])
def test_wrong_usage(args, hint, capsys):
    wide(30).to_csv('a.csv', index=False)
    Path('empty').mkdir(); Path('a.txt').touch()
    assert run(cli.train, *args.split()) == 2
    got = capsys.readouterr()
    assert hint in got.err and got.err.startswith('rnnattn_train: ') and got.err.count('\n') == 1 and got.out == ''
    assert not Path('run').exists()

@pytest.mark.parametrize('args,hint', [(['nowhere', 'GunPoint'], 'has no run.json'), (['run', 'GunPoint'], 'has no model'),
                                       (['run', 'GunPoint', '--out', 'a.csv'], 'a.csv exists')])
def test_wrong_usage_of_predict(args, hint, capsys):
    Path('run').mkdir(); Path('run/run.json').write_text('{}'); Path('a.csv').touch()
    assert run(cli.predict, *args) == 2
    err = capsys.readouterr().err
    assert hint in err and err.count('\n') == 1
