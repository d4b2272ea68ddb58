"Archive datasets: from directories, from sktime, and downloaded from an unreliable server."
import os
import random
import threading
import warnings
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastai.basics import Learner, set_seed

from tests.common import SMALL, each_model, quiet_fit
from tsai_rnnattn.data.archives import get_regression_data, get_UCR_data, is_regression, list_datasets, regression_datasets
from tsai_rnnattn.data.download import download_dataset
from tsai_rnnattn.data.loaders import TSDataLoaders
from tsai_rnnattn.data.transforms import TSImpute, TSStandardize

@pytest.fixture(autouse=True, scope='module')
def arrays(tmp_path_factory):
    "A cache of this run, so that every file is parsed by the code under test"
    with pytest.MonkeyPatch.context() as m:
        m.setenv('TSAI_RNNATTN_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield

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

def toy_zip(train=HEADER + CASES, test=HEADER + CASES, directory='', name='Toy', **others):
    "The zip file of a dataset, as bytes"
    out = BytesIO()
    with zipfile.ZipFile(out, 'w') as z:
        files = {f'{directory}{name}_TRAIN.ts': train, f'{directory}{name}_TEST.ts': test, **others}
        for member,text in files.items(): z.writestr(member, text)
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
    assert sorted(o.name for o in cache.iterdir()) == ['.arrays', 'Toy']     # no temporary files remain

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

def write_part(directory, suffix, data, part='TEST'):
    "Write one file of Toy"
    (directory/'Toy').mkdir(parents=True, exist_ok=True)
    (directory/'Toy'/f'Toy_{part}{suffix}').write_bytes(data)

TS = '# Müller\n@problemName Toy\n@timeStamps false\n@univariate {}\n@equalLength {}\n{}\n@data\n'
LABELS, TARGETS = '@classLabel true 1 12 2 é', '@targetLabel true'
ARFF_TAGS = '@relation Toy\n{}@attribute class {{1,12,2}}\n@data\n'
BAG = '@attribute bag relational\n@attribute a numeric\n@attribute b numeric\n@end bag\n'
TOYS = {                                                                 # name: format, rows without the label, header, is it regression?
    'ts': ('.ts', '1.25,-0.5,1:12|1e5,?,2:1|3.125,1,12:2|4,5,12.5:é', TS.format('true', 'true', LABELS)),
    'ts unequal': ('.ts', '1.25,-0.5,1:12|1:1|3.125,1,12,1:2|1,2:é|4,12:12', TS.format('true', 'false', LABELS)),
    'ts multivariate': ('.ts', '1,2,12:1,12,2:12|1,2,1:2,12,1:1|7.5,8,12:12,1,2:2', TS.format('false', 'true', LABELS)),
    'ts multivariate unequal': ('.ts', '1,2:12,1:12|1,2,1:2,12,1:1|7.5:12:2|7,12:1,12:12', TS.format('false', 'false', LABELS)),
    'ts targets': ('.ts', '1.25,-0.5,1:12.75|1e5,?,2:-1|3.125,1,12:2e-3', TS.format('true', 'true', TARGETS)),
    'ts multivariate targets': ('.ts', '1,2:3,4.5:12.75|5,6:7,8:-1|1:2:2e-3', TS.format('false', 'false', TARGETS)),
    'ts stamped': ('.ts', '(0,1.25),(1,-0.5):12|(0,3),(1,?),(2,1):1|(0,12):2', TS.format('true', 'false', LABELS)),
    'ts stamped multivariate': ('.ts', '(2020-01-01 00:00:00,1),(2020-01-01 01:00:00,2):(0,1),(1,12):12|(0,7):(0,1):1',
        TS.format('false', 'false', LABELS)),
    'arff': ('.arff', '1.25,-0.5,1,12|1e5,?,2,1|3.125,1,12,2|4,5,12.5,12', ARFF_TAGS.format('@attribute a numeric\n'*3)),
    'arff multivariate': ('.arff', r"'1,2,12\n1,12,2',12|'1,2,?\n2,12,1',1|'7.5,8,12\n12,1,1',2", ARFF_TAGS.format(BAG)),
    'tsv': ('.tsv', '12\t1.25\t-0.5\t1|1\t1e5\tNaN\t12|2\t3.125\t1\t1.75|1\t1\t2\tNaN', ''),
    'txt': ('.txt', '  1.2e+01  1.25  -0.5  1|1  1e5  NaN  12|2  3.125  1  1.75|1  1  2  NaN', '')}
# Rows that end with one of these labels are whole: no other label in the header starts with it
WHOLE_LABELS = '12', '2', 'é'

def load_toy(directory, regression=False):
    return (get_regression_data if regression else get_UCR_data)('Toy', path=directory, split_data=False)

@pytest.mark.parametrize('newline', ('\n', '\r\n'), ids=('lf', 'crlf'))
@pytest.mark.parametrize('name', TOYS)
def test_every_cut_within_a_row_is_refused(tmp_path, name, newline):
    """Every cut of a file is tried. These pass, with the rows before the cut, because nothing tells them from whole files:
    after a row and its newline, since no format announces the number of rows; and after a row but before its newline, if the row is not the
    first one and ends with a label of the header that is not the beginning of another label."""
    suffix, rows, header = TOYS[name]
    rows, targets, labels_last = rows.split('|'), 'targets' in name, suffix in ('.ts', '.arff')
    data = (header + '\n'.join(rows) + '\n').replace('\n', newline).encode()
    write_part(tmp_path, suffix, data, 'TRAIN'); write_part(tmp_path, suffix, data)
    X, y, (train, test) = load_toy(tmp_path, targets)
    passes = {}                                                          # cut: number of rows
    ends = [len((header + '\n'.join(rows[:i]) + '\n').replace('\n', newline).encode()) for i in range(1, len(rows) + 1)]
    for i,(end,row) in enumerate(zip(ends, rows), 1):
        passes[end] = i
        if newline == '\r\n': passes[end-1] = i                          # ends with \r, which is a newline too
        if i > 1 and labels_last and not targets and row.endswith(tuple(':,'[suffix == '.arff'] + o for o in WHOLE_LABELS)):
            passes[end-len(newline)] = i
    for cut in range(len(data)):
        write_part(tmp_path, suffix, data[:cut])
        if cut not in passes:
            number = data[:cut].count(b'\n') + (data[:cut] != b'' and data[cut-1:cut] != b'\n')
            with pytest.raises(ValueError, match=rf'Toy_TEST\{suffix}, line {number}: .*truncated'): load_toy(tmp_path, targets)
        else:
            got, y_got, (_, test_got) = load_toy(tmp_path, targets)
            assert len(test_got) == passes.pop(cut)
            for a,b in zip(got, X): np.testing.assert_array_equal(a, b)
            assert y_got.tolist() == y.tolist()[:len(y_got)]
    assert list(passes) == [len(data)]                                       # the whole file, which was read first

@pytest.mark.parametrize('name', ('BasicMotions', 'ItalyPowerDemand', 'JapaneseVowels', 'Covid3Month'))
def test_cuts_of_bundled_files_are_refused(tmp_path, name):
    import sktime.datasets
    data, regression = Path(sktime.datasets.__file__).parent.joinpath('data', name, f'{name}_TEST.ts').read_bytes(), is_regression(name)
    write_part(tmp_path, '.ts', data, 'TRAIN')
    for cut in random.Random(0).choices(range(len(data) - 1), k=24):
        if data[cut-1:cut] == b'\n' or data[cut:cut+1] == b'\n': continue
        write_part(tmp_path, '.ts', data[:cut])
        with pytest.raises(ValueError, match=f'Toy_TEST.ts, line {data[:cut].count(10) + 1}'): load_toy(tmp_path, regression)

@pytest.mark.parametrize('suffix,text,says', (
    ('.ts', HEADER + '1,2,3:a\n1,2:b\n1,2,3:b\n', 'line 9: 2 steps: the first series has 3'),
    ('.ts', HEADER + '1,2:a\n1,2,3:b\n', 'line 9: 3 steps: the first series has 2'),
    ('.ts', HEADER.replace('true', 'TRUE') + '1,2:a\n1,2,3:b\n', 'line 9: 3 steps'),
    ('.ts', HEADER + '1,2:3,4:a\n1,2:b\n', 'line 9: 1 variables: the first series has 2'),
    ('.ts', HEADER + '1,2:3:a\n', r'line 8: the variables have \[2, 1\] steps'),
    ('.ts', HEADER + '1,,2:a\n', 'line 8: could not convert'), ('.ts', HEADER + ':a\n', 'line 8: could not convert'),
    ('.ts', HEADER + '1,2:A\n', "line 8: the label 'A' is not one of"), ('.ts', HEADER + '(0,1),(1,2:a\n', 'line 8: could not convert'),
    ('.ts', HEADER.replace('@classLabel true a b', '@classLabel false') + '1,2\n', 'line 8: the header has no labels or targets'),
    ('.ts', HEADER.replace('@classLabel true a b', '@classLabel true') + '1,2:a\n', 'line 8: the header has no labels or targets'),
    ('.ts', HEADER.replace('@data', '') + CASES, 'line 13: the file has no series'),
    ('.ts', HEADER.replace('@classLabel true a b', '@targetLabel true') + '1,2,3:0.5\n4,5,6:x\n', 'line 9: could not convert'),
    ('.arff', ARFF + "'1.0,2.0,3.0\\n4.0,5.0,6.0',c\n", "line 9: the label 'c' is not one of"),
    ('.arff', ARFF + "'1.0,2.0\\n4.0,5.0',a\n", 'line 9: 2 steps: the first series has 3'),
    ('.arff', ARFF + "'1.0,2.0,3.0',a\n", 'line 9: 1 variables'), ('.arff', ARFF + "'1.0,2.0,3.0\\n4.0,5.0,a\n", 'line 9: expected values'),
    ('.arff', ARFF + "'1.0,2.0,3.0\\n4.0,5.0,6.0',\n", "line 9: the label '' is not"),
    ('.arff', ARFF.partition('@data')[0], 'line 5: the file has no series'),
    ('.tsv', '1\t1\t2\n1\t1\n', 'line 2: 1 steps: the first series has 2'), ('.tsv', '1\t1\n1\tx\n', 'line 2: could not convert'),
    ('.tsv', '1\t1\t2\n1\n', 'line 2: '), ('.tsv', '\t1\t2\n', 'line 1: the label is missing'),
    ('.tsv', '', 'line 0: the file has no series'), ('.txt', '1\n', 'line 1: '), ('.txt', '# none\n', 'line 1: the file has no series'),
    ('.txt', '1 1 2\n\n1 1 2 3\n', 'line 3: 3 steps: the first series has 2')))
def test_files_that_contradict_themselves_are_refused(tmp_path, suffix, text, says):
    good = {'.ts': HEADER + CASES, '.arff': ARFF, '.tsv': '1\t1\t2\n', '.txt': '1 1 2\n'}[suffix]
    write_part(tmp_path, suffix, good.encode(), 'TRAIN'); write_part(tmp_path, suffix, text.encode())
    with pytest.raises(ValueError, match=rf'Toy_TEST\{suffix}, {says}'): get_UCR_data('Toy', path=tmp_path)

def test_labels_stay_as_they_are_written(tmp_path):
    write_toy(tmp_path, '1,2,3:A\n4,5,6:a\n7,8,9:B-é\n')
    for path in (tmp_path/'Toy').iterdir(): path.write_bytes(path.read_text(encoding='utf-8').replace('true a b', 'true A a B-é').encode())
    assert get_UCR_data('Toy', path=tmp_path)[1].tolist() == ['A', 'a', 'B-é']
    assert set(get_UCR_data('BasicMotions')[1]) == {'Standing', 'Running', 'Walking', 'Badminton'}
    assert TSDataLoaders.from_ucr('Toy', tmp_path, bs=2).vocab == ['A', 'B-é', 'a']

@pytest.mark.parametrize('suffix,sep', (('.tsv', '\t'), ('.txt', ' ')))
def test_labels_of_tables(tmp_path, suffix, sep):
    labels = ['1.0000000e+00', '-1', '1234567', '1234568.0', '0.5', 'Walk']
    for part in ('TRAIN', 'TEST'): write_part(tmp_path, suffix, ''.join(f'{o}{sep}1{sep}2\n' for o in labels).encode(), part)
    assert get_UCR_data('Toy', path=tmp_path)[1].tolist() == ['1', '-1', '1234567', '1234568', '0.5', 'Walk']

def test_empty_fields_and_byte_order_marks_of_tables(tmp_path):
    for part in ('TRAIN', 'TEST'): write_part(tmp_path, '.tsv', '1\t1.5\t\t3\n1\t\t2\t 4 \n'.encode('utf-8-sig'), part)
    X, y, *_ = get_UCR_data('Toy', path=tmp_path)
    np.testing.assert_array_equal(X[:, 0], [[1.5, np.nan, 3], [np.nan, 2, 4]])
    assert y.tolist() == ['1', '1']

@pytest.mark.parametrize('encoding', ('utf-8', 'utf-8-sig', 'latin-1'))
def test_comments_and_labels_in_any_encoding(tmp_path, encoding):
    text = '# by J. Müller\x85\n' + HEADER.replace('a b', 'a b für') + CASES + '1,2,3:für\n'
    for part in ('TRAIN', 'TEST'): write_part(tmp_path, '.ts', text.encode(encoding), part)
    assert get_UCR_data('Toy', path=tmp_path)[1].tolist() == [*'ababab', 'für']
    write_part(tmp_path, '.ts', text.replace('5.0,', 'x,', 1).encode(encoding))
    with pytest.raises(ValueError, match='line 13: could not convert string to float: .x.'): get_UCR_data('Toy', path=tmp_path)

def test_values_are_the_nearest_float32(tmp_path):
    values = ['0.1', '16777217', '1e-45', '3.4028235e38', '-0.0', '123456789.123', '1.17549435e-38', '0.30000001192092896']
    write_toy(tmp_path, f'{",".join(values)}:a\n')
    assert get_UCR_data('Toy', path=tmp_path)[0].tobytes() == np.array([float(o) for o in values], np.float32).tobytes()

@pytest.fixture
def counted(monkeypatch):
    "Names of the files that were parsed"
    from tsai_rnnattn.data import archives
    parsed, parse = [], archives._parse
    monkeypatch.setattr(archives, '_parse', lambda path, data: parsed.append(path.name) or parse(path, data))
    return parsed

def test_files_are_parsed_once_and_never_out_of_date(tmp_path, cache, counted):
    write_toy(tmp_path)
    before = get_UCR_data('Toy', path=tmp_path)
    again = get_UCR_data('Toy', path=tmp_path)
    assert counted == ['Toy_TRAIN.ts']                                       # the test file has the same content
    for a,b in zip(before, again): np.testing.assert_array_equal(a, b); assert a.dtype == b.dtype and b.flags.writeable
    test = tmp_path/'Toy'/'Toy_TEST.ts'
    date = test.stat()
    for i in range(1, 5):                                                    # same size, same date, other values
        test.write_text(HEADER + CASES.replace('0.0', f'{i}.5'))
        os.utime(test, ns=(date.st_atime_ns, date.st_mtime_ns))
        assert get_UCR_data('Toy', path=tmp_path)[2][0, 0, 0] == i + .5
    test.write_text(HEADER + CASES[:-10])
    with pytest.raises(ValueError, match='Toy_TEST.ts, line 13'): get_UCR_data('Toy', path=tmp_path)

def test_the_same_bytes_in_another_format_are_other_arrays(tmp_path, cache):
    for suffix,label in (('.tsv', 'A\t1 2\n'), ('.txt', 'A\t1 2\n')):
        for part in ('TRAIN', 'TEST'): write_part(tmp_path/suffix, suffix, label.encode(), part)
    assert get_UCR_data('Toy', path=tmp_path/'.txt')[0].tolist() == [[[1, 2]]] * 1
    with pytest.raises(ValueError, match='could not convert'): get_UCR_data('Toy', path=tmp_path/'.tsv')

@pytest.mark.parametrize('damage', (lambda b: b[:len(b)//2], lambda b: b'', lambda b: b'x' * len(b),
                                    lambda b: b[:200] + b'x' * 20 + b[220:]), ids=('half', 'empty', 'other', 'changed'))
def test_damaged_arrays_are_replaced(tmp_path, cache, counted, damage):
    write_toy(tmp_path)
    X, *_ = get_UCR_data('Toy', path=tmp_path)
    [entry] = (cache/'.arrays').iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    np.testing.assert_array_equal(get_UCR_data('Toy', path=tmp_path)[0], X)
    assert len(counted) == 2 and [*(cache/'.arrays').iterdir()] == [entry] and len(entry.read_bytes()) == len(whole)

def test_a_cache_that_cannot_be_written_is_no_hindrance(tmp_path, cache, counted, monkeypatch):
    write_toy(tmp_path)
    cache.write_text('a file where the directory should be')
    for _ in range(2): assert len(get_UCR_data('Toy', path=tmp_path)[0]) == 6
    assert counted == ['Toy_TRAIN.ts', 'Toy_TEST.ts'] * 2
    cache.unlink()
    def full(*args, **kw): raise OSError('no space left on device')
    monkeypatch.setattr(np, 'savez', full)
    assert len(get_UCR_data('Toy', path=tmp_path)[0]) == 6 and [*(cache/'.arrays').iterdir()] == []

def test_regression_datasets_are_known(cache, monkeypatch):
    text = HEADER.replace('@classLabel true a b', '@targetLabel true') + CASES.replace(':a', ':0.5').replace(':b', ':-2')
    assert is_regression('AppliancesEnergy') and not is_regression('FordA') and len(set(regression_datasets)) == 63
    with Server(toy_zip(text, text, name='AppliancesEnergy')) as server:
        monkeypatch.setattr('tsai_rnnattn.data.archives.download_dataset', lambda *args: download_dataset(*args[:3], [server.url], wait=0))
        with pytest.raises(ValueError, match="'AppliancesEnergy' has numbers to predict: load it with get_regression_data"):
            get_UCR_data('AppliancesEnergy')
        with pytest.raises(ValueError, match="Did you mean 'AppliancesEnergy'"): TSDataLoaders.from_ucr('ApliancesEnergy')
        assert server.requests == []
        dls = TSDataLoaders.from_ucr('AppliancesEnergy', bs=2)
    assert server.requests == ['/archive/AppliancesEnergy.zip'] and dls.c == 1 and len(dls.valid.dataset) == 6

def test_a_dataset_that_cannot_be_read_does_not_hide_the_others(tmp_path, cache, monkeypatch):
    monkeypatch.setenv('TSAI_RNNATTN_DATA', str(write_toy(tmp_path)))
    names = list_datasets().name.tolist()
    assert 'Toy' in names
    def broken(name, *files):
        (tmp_path/name).mkdir()
        for part,text in zip(('TRAIN', 'TEST'), files): (tmp_path/name/f'{name}_{part}.ts').write_text(text)
    broken('Half', HEADER + CASES); broken('Empty', HEADER + CASES, ''); broken('NoRows', HEADER, HEADER); broken('NoHeader', CASES, CASES)
    broken('NoLabels', HEADER + '1,2,3\n', HEADER + '1,2,3\n')
    (tmp_path/'Table').mkdir(); (tmp_path/'Folder'/'Folder_TRAIN.ts').mkdir(parents=True); (tmp_path/'Folder'/'Folder_TEST.ts').mkdir()
    for part in ('TRAIN', 'TEST'): (tmp_path/'Table'/f'Table_{part}.tsv').write_text('1\tx\n')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        assert list_datasets().name.tolist() == names
    told = [str(o.message) for o in caught]
    for name in ('Half', 'Empty', 'NoRows', 'NoHeader', 'NoLabels', 'Table', 'Folder'):
        assert [o for o in told if o.startswith(f'{name} is left out of the list: ')], (name, told)
    assert len(told) == 7 and {o.filename for o in caught} == {__file__}

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
