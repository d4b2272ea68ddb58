"Archive datasets: from directories, from sktime, and downloaded from an unreliable server."
import os
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from fastai.basics import Learner, set_seed

from tests.common import SMALL, each_model, quiet_fit
from tsai_rnnattn.data.archives import get_regression_data, get_UCR_data, list_datasets
from tsai_rnnattn.data.download import download_dataset
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.transforms import TSImpute, TSStandardize

# training series, test series, variables, steps of the shortest and of the longest series, classes
BUNDLED = dict(ACSF1=(100,100,1,1460,1460,10), ArrowHead=(36,175,1,251,251,3), BasicMotions=(40,40,6,100,100,4),
    GunPoint=(50,150,1,150,150,2), ItalyPowerDemand=(67,1029,1,24,24,2), JapaneseVowels=(270,370,12,7,29,9),
    OSULeaf=(200,242,1,427,427,6), PLAID=(537,537,1,100,1344,11))

@pytest.mark.parametrize('name', BUNDLED)
def test_bundled_datasets_have_the_sizes_of_the_archive(name):
    X, y, (train, test) = get_UCR_data(name, split_data=False)
    lengths = [x.shape[1] for x in X]
    assert (len(train), len(test), len(X[0]), min(lengths), max(lengths), len(set(y))) == BUNDLED[name]
    assert all(x.dtype == np.float32 for x in X)

HEADER = '@problemName Toy\n@timeStamps false\n@missing false\n@univariate true\n@equalLength true\n@classLabel true a b\n@data\n'
CASES = ''.join(f'{i}.0,{i+1}.0,{i+2}.0:{"ab"[i % 2]}\n' for i in range(6))

def toy_zip(train=HEADER + CASES, test=HEADER + CASES, directory='', **others):
    "The zip file of a dataset called Toy, as bytes"
    out = BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        for name,text in {f'{directory}Toy_TRAIN.ts': train, f'{directory}Toy_TEST.ts': test, **others}.items(): z.writestr(name, text)
    return out.getvalue()

class Server:
    "Answers each request with the next of `answers`: bytes, (bytes, number of bytes to send), or a status. The last one repeats"
    def __init__(self, *answers):
        self.answers, self.requests, outer = list(answers), [], self
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                if isinstance(answer, int): return self.send_error(answer)
                data, n = answer if isinstance(answer, tuple) else (answer, len(answer))
                self.send_response(200); self.send_header('Content-Length', str(len(data))); self.end_headers()
                self.wfile.write(data[:n])
            def log_message(self, *args): pass
        self.http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.http.server_port}/archive'
        return self
    def __exit__(self, *args): self.http.shutdown(); self.http.server_close()

@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TSAI_RNNATTN_CACHE', str(tmp_path/'cache'))
    monkeypatch.delenv('TSAI_RNNATTN_DATA', raising=False)
    monkeypatch.setattr('tsai_rnnattn.data.archives._archive_names', lambda: ['Toy', 'FordA'])
    monkeypatch.setattr('tsai_rnnattn.data.archives.download_dataset', partial(download_dataset, wait=0))
    return tmp_path/'cache'

@pytest.mark.parametrize('directory', ('', 'Toy/', 'archive/of/many/'))
def test_downloads_once_then_reads_the_cache(cache, directory):
    with Server(toy_zip(directory=directory)) as server:
        X, y, X_test, y_test = get_UCR_data('Toy', urls=[server.url])
        again = get_UCR_data('Toy', urls=[server.url])
    assert server.requests == ['/archive/Toy.zip']
    assert X.shape == (6, 1, 3) and y.tolist() == list('ababab') and np.array_equal(X, again[0])
    assert [o.name for o in cache.iterdir()] == ['Toy']                  # no temporary files remain

WHOLE = toy_zip()
@pytest.mark.parametrize('bad', ((WHOLE, 100), 500, b'<html>an error page instead of a zip file</html>', WHOLE[:-60]),
                         ids=('dropped connection', 'server error', 'not a zip file', 'truncated zip file'))
def test_failed_download_is_retried(cache, bad):
    with Server(bad, bad, WHOLE) as server: X, *_ = get_UCR_data('Toy', urls=[server.url])
    assert len(server.requests) == 3 and len(X) == 6

def test_404_is_not_retried_and_the_next_address_is_used(cache):
    with Server(404) as first, Server(WHOLE) as second:
        get_UCR_data('Toy', urls=[first.url, second.url])
        assert len(first.requests) == len(second.requests) == 1

def test_dropped_connection_leaves_nothing(cache):
    with Server((WHOLE, 100)) as server, pytest.raises(ConnectionError) as e: get_UCR_data('Toy', urls=[server.url])
    assert len(server.requests) == 3
    says = 'ended after 100 of', 'by hand', str(cache/'Toy'/'Toy_TRAIN.ts'), 'TSAI_RNNATTN_DATA', server.url
    assert all(o in str(e.value) for o in says)
    assert list(cache.iterdir()) == []

def test_zip_file_with_half_a_dataset_is_refused(cache):
    half = BytesIO()
    with zipfile.ZipFile(half, 'w') as z: z.writestr('Toy_TRAIN.ts', HEADER + CASES)
    with Server(half.getvalue()) as server, pytest.raises(ConnectionError, match='only half of a dataset'):
        get_UCR_data('Toy', urls=[server.url])
    assert list(cache.iterdir()) == []

def test_without_network_the_error_says_what_to_do(cache):
    with pytest.raises(ConnectionError, match='by hand'): get_UCR_data('FordA', urls=['http://127.0.0.1:9/nobody'])
    assert list(cache.iterdir()) == []

@pytest.mark.parametrize('member', ('../evil.ts', '/evil.ts', 'a/../../../evil.ts', '..\\evil.ts'))
def test_zip_members_that_point_outside_are_refused(cache, member):
    with Server(toy_zip(**{member: 'text'})) as server, pytest.raises(ValueError, match='points outside'):
        get_UCR_data('Toy', urls=[server.url])
    assert list(cache.iterdir()) == [] and len(server.requests) == 1 and not list(cache.parent.rglob('evil.ts'))

def test_corrupt_file_is_not_kept(cache):
    with Server(toy_zip(test=HEADER + CASES[:-10])) as server, pytest.raises(ValueError, match='Toy_TEST.ts, line 13'):
        get_UCR_data('Toy', urls=[server.url])
    assert list(cache.iterdir()) == []

def test_unknown_names_are_not_requested(cache):
    with Server(WHOLE) as server:
        with pytest.raises(ValueError, match="Did you mean 'Toy'"): get_UCR_data('toy', urls=[server.url])
        with pytest.raises(ValueError, match='letters, digits'): get_UCR_data('../Toy', urls=[server.url])
    assert server.requests == []

def test_regression_data_is_downloaded(cache):
    text = HEADER.replace('@classLabel true a b', '@targetLabel true') + CASES.replace(':a', ':0.5').replace(':b', ':-2')
    with Server(toy_zip(text, text)) as server: X, y, *_ = get_regression_data('Toy', urls=[server.url])
    assert y.tolist() == [0.5, -2] * 3 and y.dtype == np.float32

def write_toy(directory, cases=CASES):
    (directory/'Toy').mkdir(parents=True)
    for part in ('TRAIN', 'TEST'): (directory/'Toy'/f'Toy_{part}.ts').write_text(HEADER + cases)
    return directory

def test_search_order_of_directories(tmp_path, cache, monkeypatch):
    def first_value(**kw): return get_UCR_data('Toy', **kw)[0][0, 0, 0]
    paths = [write_toy(tmp_path/str(i), CASES.replace('0.0', f'{i}.5')) for i in range(3)]
    write_toy(cache, CASES.replace('0.0', '9.5'))
    assert first_value() == 9.5
    monkeypatch.setenv('TSAI_RNNATTN_DATA', os.pathsep.join(map(str, paths[:2])))
    assert first_value() == 0.5 and first_value(path=paths[2]) == 2.5
    monkeypatch.setenv('TSAI_RNNATTN_DATA', os.pathsep.join(map(str, paths[1::-1])))
    assert first_value() == 1.5
    assert list_datasets().set_index('name').loc['Toy'].tolist() == ['classification', 6, 6, 1, 3, 3, 2]
    monkeypatch.setenv('TSAI_RNNATTN_DATA', str(tmp_path/'nowhere'))
    with pytest.raises(FileNotFoundError, match='nowhere is not a directory'): get_UCR_data('GunPoint')

ARFF = '@relation Toy\n@attribute bag relational\n@attribute a numeric\n@end bag\n@attribute class {a,b}\n@data\n' \
       "'1.0,2.0,3.0\\n4.0,5.0,?',a\n'1.0,?,3.0\\n4.0,5.0,6.0',b\n"
def test_reads_arff(tmp_path):
    (tmp_path/'Toy').mkdir()
    for part in ('TRAIN', 'TEST'): (tmp_path/'Toy'/f'Toy_{part}.arff').write_text(ARFF)
    X, y, *_ = get_UCR_data('Toy', path=tmp_path)
    assert X.shape == (2, 2, 3) and y.tolist() == ['a', 'b']
    np.testing.assert_array_equal(X[0], [[1, 2, 3], [4, 5, np.nan]])

def test_tsv_series_end_at_their_last_value(tmp_path):
    (tmp_path/'Toy').mkdir()
    for part in ('TRAIN', 'TEST'): (tmp_path/'Toy'/f'Toy_{part}.tsv').write_text('1\t1.0\tNaN\t3.0\n2\t1.0\t2.0\tNaN\n')
    X, y, *_ = get_UCR_data('Toy', path=tmp_path)
    assert [x.shape for x in X] == [(1, 3), (1, 2)] and y.tolist() == ['1', '2'] and np.isnan(X[0][0, 1])

@pytest.mark.parametrize('text,says', (
    (HEADER + CASES[:-2] + 'x\n', "line 13: the label 'x'"), (HEADER + '1,2\n' + CASES, 'line 8'), (HEADER, 'line 7'), (CASES, 'line'),
    (HEADER + CASES + '1,2,1e:a\n', 'line 14: could not convert')))
def test_error_for_a_broken_file_names_its_line(tmp_path, text, says):
    write_toy(tmp_path)
    (tmp_path/'Toy'/'Toy_TEST.ts').write_text(text)
    with pytest.raises(ValueError, match=f'Toy_TEST.ts, {says}'): get_UCR_data('Toy', path=tmp_path)

# training series, test series, variables, steps of the longest series, classes (0: regression)
ARCHIVE = dict(ArticularyWordRecognition=(275,300,9,144,25), BME=(30,150,1,128,3), Beef=(30,30,1,470,5), CBF=(30,900,1,128,3),
    Chinatown=(20,343,1,24,2), Coffee=(28,28,1,286,2), DodgerLoopWeekend=(20,138,1,288,2), ECG200=(100,100,1,96,2), ERing=(30,270,4,65,6),
    Epilepsy=(137,138,3,206,4), FaceAll=(560,1690,1,131,14), FaceFour=(24,88,1,350,4), GesturePebbleZ1=(132,172,1,455,6),
    Handwriting=(150,850,3,152,26), Libras=(180,180,2,45,15), Lightning7=(70,73,1,319,7), MelbournePedestrian=(1194,2439,1,24,10),
    MiddlePhalanxTW=(399,154,1,80,6), MoteStrain=(20,1252,1,84,2), NATOPS=(180,180,24,51,6), PenDigits=(7494,3498,2,8,10),
    Plane=(105,105,1,144,7), PowerCons=(180,180,1,144,2), RacketSports=(151,152,6,30,4), ShakeGestureWiimoteZ=(50,50,1,385,10),
    SmoothSubspace=(150,150,1,15,3), SwedishLeaf=(500,625,1,128,15), SyntheticControl=(300,300,1,60,6), ToeSegmentation1=(40,228,1,277,2),
    Trace=(100,100,1,275,4), TwoLeadECG=(23,1139,1,82,2), Wine=(57,54,1,234,2), FloodModeling1=(471,202,1,266,0))
UNEQUAL, MISSING = {'GesturePebbleZ1', 'ShakeGestureWiimoteZ', 'MelbournePedestrian'}, {'MelbournePedestrian', 'DodgerLoopWeekend'}
needs_archive = pytest.mark.skipif(not os.environ.get('TSAI_RNNATTN_DATA'), reason='TSAI_RNNATTN_DATA is not set')

@needs_archive
@pytest.mark.parametrize('name', ARCHIVE)
def test_datasets_have_the_sizes_of_the_archive(name):
    n, n_test, c_in, sl, n_classes = ARCHIVE[name]
    X, y, X_test, y_test = (get_UCR_data if n_classes else get_regression_data)(name)
    lengths = {x.shape[1] for part in (X, X_test) for x in part}
    assert (len(X), len(X_test), len(X[0]), max(lengths), len(set(y)) if n_classes else 0) == ARCHIVE[name]
    assert (len(y), len(y_test)) == (n, n_test)
    assert (len(lengths) > 1) == (name in UNEQUAL)
    assert any(np.isnan(x).any() for part in (X, X_test) for x in part) == (name in MISSING)

@needs_archive
@each_model
@pytest.mark.parametrize('name', ARCHIVE)
def test_models_train_on_datasets(name, M):
    set_seed(0)
    tfms = [TSImpute(), TSStandardize()] if name in MISSING else None
    dls = TSDataLoaders.from_ucr(name, bs=64, batch_tfms=tfms, standardize_y=not ARCHIVE[name][4])
    assert (dls.vars, dls.len, dls.c, dls.n_inp) == (*ARCHIVE[name][2:4], ARCHIVE[name][4] or 1, 1 + (name in UNEQUAL))
    learn = quiet_fit(Learner(dls, M(dls.vars, dls.c, dls.len, **SMALL)))
    train_loss, valid_loss = learn.recorder.values[-1]
    assert np.isfinite([train_loss, valid_loss]).all()
    with learn.no_bar(): preds, targets = learn.get_preds()
    assert preds.shape == (ARCHIVE[name][1], dls.c) and len(targets) == len(preds) and preds.isfinite().all()

@needs_archive
@pytest.mark.parametrize('name', sorted(MISSING))
def test_missing_values_are_refused_without_imputation(name):
    dls = TSDataLoaders.from_ucr(name)
    with pytest.raises(ValueError, match='nan in sample .*TSImpute'):
        for dl in dls.loaders: list(dl)
