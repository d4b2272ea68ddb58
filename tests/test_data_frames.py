"Series from data frames: compared with pandas' sort and groupby, and with frames that would be read wrong"
from datetime import date
from itertools import product

import numpy as np
import pandas as pd
import pytest

from tsai_rnnattn.data.frames import series_from_long, series_from_sktime, series_from_wide
from tsai_rnnattn.data.loaders import TSDataLoaders

SIZES = 7, 1, 5, 11, 2                                                   # steps of five series

def long_frame(text=False, sizes=SIZES, seed=0):
    "A frame of two variables, with its series one after the other"
    g, series = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    ids = np.array(['p', 'c', 'z', 'a', 'q'], object)[series] if text else 10 - series
    n = len(series)
    return pd.DataFrame(dict(id=ids, time=np.concatenate([np.arange(o) * 3 for o in sizes]), a=g.normal(size=n), b=g.normal(size=n),
                             label=np.array(['x', 'y', 'z'], object)[series % 3], target=series / 8))

def by_groupby(df, time=None):
    "Series, labels and targets by pandas"
    g = (df if time is None else df.sort_values(time, kind='stable')).groupby('id', sort=False)
    order = df['id'].drop_duplicates()
    return [g.get_group(o)[['a', 'b']].to_numpy().T for o in order], g[['label', 'target']].first().loc[order].to_numpy()

@pytest.mark.parametrize('text,shuffled,time,equal', [*product((False, True), (False, True), ('time', None), (False, True))])
def test_long_agrees_with_groupby(text, shuffled, time, equal):
    df = long_frame(text, (7,) * 5 if equal else SIZES)
    if shuffled: df = df.sample(frac=1, random_state=1)
    X, y = series_from_long(df, ['label', 'target'], ['a', 'b'], 'id', time)
    want, y_want = by_groupby(df, time)
    assert len(X) == len(want) == 5 and isinstance(X, np.ndarray) == equal
    for x,w in zip(X, want): np.testing.assert_array_equal(x, w)
    assert y.tolist() == [[str(o) for o in k] for k in y_want.tolist()]
    label, _ = y_want.T
    assert series_from_long(df, 'label', ['a', 'b'], 'id', time)[1].tolist() == label.tolist()

TIMES = dict(
    int8=lambda t: (t.astype(int) * 5 - 100).astype('int8'), uint8=lambda t: t.astype('uint8'), floats=lambda t: t / 7 - 1,
    huge=lambda t: t * 10**15,
    dates=lambda t: pd.Timestamp('2020-01-31') + pd.to_timedelta(t, unit='D'), nullable=lambda t: t.astype('Int64'),
    zone=lambda t: pd.Timestamp('2020-03-28', tz='Europe/Berlin') + pd.to_timedelta(t, unit='h'),
    period=lambda t: pd.PeriodIndex.from_ordinals(t, freq='D'), bools=lambda t: t > 0,
    date_objects=lambda t: pd.to_datetime(t, unit='D').dt.date,
    text_numbers=lambda t: (t - 7).astype(str), iso=lambda t: pd.to_datetime(t, unit='D').dt.strftime('%Y-%m-%d'),
    durations=lambda t: t.map(lambda o: f'{o} days 00:00:00'), mixed=lambda t: t.map(lambda o: str(o) if o % 2 else o).astype(object),
    categories=lambda t: t.astype(str).astype('category'),
    ordered=lambda t: pd.Categorical(t.map(lambda o: f'step {o}'), [f'step {o}' for o in range(40)], ordered=True))
@pytest.mark.parametrize('kind', TIMES)
def test_times_of_any_kind_sort_by_their_meaning(kind):
    df = long_frame(sizes=(2, 2, 1) if kind == 'bools' else SIZES).sample(frac=1, random_state=2, ignore_index=True)
    X, _ = series_from_long(df, 'label', ['a', 'b'], 'id', 'time')
    got, _ = series_from_long(df.assign(time=TIMES[kind](df.time)), 'label', ['a', 'b'], 'id', 'time')
    assert [x.tolist() for x in got] == [x.tolist() for x in X]

def test_numbers_as_text_are_not_sorted_alphabetically():
    df = pd.DataFrame(dict(id=0, y='a', time=['8', '9', '10'], value=[1., 2, 3]))
    for dtype in ('str', object, 'category'):
        assert series_from_long(df.astype({'time': dtype}), 'y', 'value', 'id', 'time')[0].tolist() == [[[1, 2, 3]]]
    with pytest.raises(ValueError, match="row 2 has the same 'time' as an earlier row of series 0"):
        series_from_long(df.assign(time=['8', '9', '8.0']), 'y', 'value', 'id', 'time')

@pytest.mark.parametrize('times', (['1/2/2020', '1/10/2020', '1/3/2020'], ['t8', 't9', 't10'], ['8', '9', 'x'],
                                   ['2020-01-01', '7', '2020-01-02']))
def test_other_text_as_time_is_refused_with_the_cure(times):
    with pytest.raises(ValueError, match="text in column 'time' is not all numbers, .*pd.to_datetime"):
        series_from_long(pd.DataFrame(dict(id=0, y='a', time=times, value=1.)), 'y', 'value', 'id', 'time')

@pytest.mark.parametrize('missing', (None, np.nan, pd.NaT, ''))
@pytest.mark.parametrize('times', (['3', '1'], [3, 1], [date(2020, 1, 3), date(2020, 1, 1)], ['2020-01-03', '2020-01-01']))
def test_a_missing_time_is_named(missing, times):
    df = pd.DataFrame(dict(id=0, y='a', time=[*times, missing], value=1.))
    with pytest.raises(ValueError, match="row 2 has no 'time'"): series_from_long(df, 'y', 'value', 'id', 'time')

@pytest.mark.parametrize('ids', (['a', None, 'b'], [1, np.nan, 2], pd.array([1, None, 2], 'Int64')))
def test_a_missing_id_is_named(ids):
    df = pd.DataFrame(dict(id=ids, y=0, value=1.))
    with pytest.raises(ValueError, match="row 1 has no 'id'"): series_from_long(df, 'y', 'value', 'id')

@pytest.mark.parametrize('scale', (1, 1e9))                                   # keys close together, or far apart
def test_the_first_repeated_row_is_named(scale):
    df = pd.DataFrame(dict(id=list('abab' 'ab'), y=0, time=np.array([1, 1, 5, 1, 1, 1]) * scale, value=1.))
    with pytest.raises(ValueError, match="row 3 has the same 'time' as an earlier row of series 'b'"):
        series_from_long(df, 'y', 'value', 'id', 'time')

def test_a_repeated_time_in_sorted_rows_is_named():
    df = pd.DataFrame(dict(id=list('aabb'), y=0, time=[1, 2, 3, 3], value=1.))
    with pytest.raises(ValueError, match="row 3 has the same 'time' as an earlier row of series 'b'"):
        series_from_long(df, 'y', 'value', 'id', 'time')

def test_times_that_fill_a_small_dtype():
    df = pd.DataFrame(dict(id=np.arange(512) % 2, y=0, time=np.repeat(np.arange(-128, 128), 2).astype('int8'), value=np.arange(512.)))
    got, _ = series_from_long(df.sample(frac=1, random_state=0).sort_values('id', kind='stable'), 'y', 'value', 'id', 'time')
    np.testing.assert_array_equal(got, [[np.arange(0, 512, 2)], [np.arange(1, 512, 2)]])

def test_times_of_several_zones():
    times = ['2020-01-01T01:00:00+01:00', '2020-01-01T00:30:00+00:00', '2020-01-01T03:00:00+02:00']     # 0:00, 0:30, 1:00
    df = pd.DataFrame(dict(id=0, y='a', time=times, value=[0, 1, 2])).iloc[[2, 0, 1]]
    assert series_from_long(df, 'y', 'value', 'id', 'time')[0].tolist() == [[[0, 1, 2]]]

def test_columns_named_by_integers():
    df = pd.DataFrame([[7, 0, 2., 1.5], [7, 0, 1., 2.5]])
    X, y = series_from_long(df, 1, [3], 0, 2)
    assert X.tolist() == [[[2.5, 1.5]]] and y.tolist() == [0]
    assert series_from_long(df.rename(columns={0: 1, 1: 0}), 0, 3, 1, 2)[0].tolist() == X.tolist()
    assert series_from_long(df[[2, 1, 0, 3]].set_axis(range(4), axis=1), 1, 3, 2, 0)[0].tolist() == X.tolist()    # the time column is 0
    with pytest.raises(ValueError, match=r'no columns \[0\]'): series_from_long(df.drop(columns=0), 1, 3, 2, 0)

def test_large_values_keep_their_digits():
    small = np.array([0, .125, .25, 3.5])
    df = pd.DataFrame(dict(id=0, y='a', clock=1.7e9 + small, ms=1_700_000_000_000 + np.arange(4), low=small.astype('float32')))
    X, _ = series_from_long(df, 'y', ['clock', 'ms'], 'id')
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X[0] - [[1.7e9], [1.7e12]], [small, np.arange(4)])
    wide, _ = series_from_wide(df, 'y', ['clock', 'ms'])
    np.testing.assert_array_equal(wide[:, 0], df[['clock', 'ms']])
    assert series_from_sktime([df[['clock']]])[0][0].tolist() == df.clock.tolist()
    for f in (series_from_long(df, 'y', 'low', 'id')[0], series_from_wide(df, 'y', ['low'])[0], series_from_sktime([df[['low']]])):
        assert f.dtype == np.float32

@pytest.mark.parametrize('dtype,wide', (('float16', 0), ('float32', 0), ('float64', 1), ('int8', 0), ('int16', 0), ('uint16', 0),
    ('int32', 1), ('uint32', 1), ('int64', 1), ('bool', 0), ('Int16', 0), ('Int64', 1), ('Float32', 0), ('Float64', 1), ('boolean', 0)))
def test_dtype_of_the_series_follows_the_columns(dtype, wide):
    df = pd.DataFrame(dict(id=0, y='a', value=[1, 0, 1])).astype({'value': dtype})
    X, _ = series_from_long(df, 'y', 'value', 'id')
    assert X.dtype == (np.float64 if wide else np.float32) and X.tolist() == [[[1, 0, 1]]]
    assert series_from_wide(df, 'y', ['value'])[0].dtype == X.dtype

def test_missing_values_of_nullable_columns_are_nan():
    df = pd.DataFrame(dict(id=0, y=pd.array([3, 3, 3], 'Int64'), value=pd.array([1, None, 3], 'Int64'),
                           flag=pd.array([True, None, False], 'boolean')))
    X, y = series_from_long(df, 'y', ['value', 'flag'], 'id')
    np.testing.assert_array_equal(X[0], [[1, np.nan, 3], [1, np.nan, 0]])
    assert y.tolist() == [3]

def test_labels_may_be_missing_but_not_change():
    df = long_frame().assign(target=lambda d: d.target.mask(d.id == 9))
    y = series_from_long(df, 'target', 'a', 'id')[1]
    np.testing.assert_array_equal(y, [0, np.nan, .25, .375, .5])
    for column in ('label', 'target'):
        df.loc[14, column] = None                                            # a row of the fourth series
        with pytest.raises(ValueError, match='the label of series 7 changes'): series_from_long(df, column, 'a', 'id')

def test_series_are_copies():
    df = long_frame(sizes=(7,) * 5)
    X, _ = series_from_long(df, 'label', 'a', 'id', 'time')
    X[:] = 0
    assert df.a.ne(0).all()

@pytest.mark.parametrize('columns', (pd.Index(['a', 'b']), np.array(['a', 'b']), ('a', 'b'), pd.Series(['a', 'b']), dict(a=0, b=0).keys()),
                         ids=lambda o: type(o).__name__)
def test_columns_may_be_any_list(columns):
    df = long_frame(sizes=(7,) * 5)
    X, _ = series_from_long(df, 'label', columns, 'id')
    np.testing.assert_array_equal(X, series_from_long(df, 'label', ['a', 'b'], 'id')[0])
    np.testing.assert_array_equal(series_from_long(df, pd.Index(['target']), 'a', 'id')[1][:, 0], np.arange(5) / 8)
    np.testing.assert_array_equal(series_from_wide(df, 'label', columns)[0][:, 0], df[['a', 'b']])
    np.testing.assert_array_equal(series_from_wide(df, 'label', dict(u=columns, v=list(columns)))[0][:, 1], df[['a', 'b']])

class OtherFrame:
    "A data frame of another library"
    columns = 'id', 'a', 'label'
    def to_pandas(self): return long_frame()

@pytest.mark.parametrize('read', (lambda df: series_from_long(df, 'label', 'a', 'id'), lambda df: series_from_wide(df, 'label', ['a']),
                                  lambda df: TSDataLoaders.from_df(df, 'label', 'a', id='id')), ids=('long', 'wide', 'from_df'))
def test_frames_that_cannot_be_read_are_refused_with_the_cure(read):
    df = long_frame()
    for bad,error,says in ((OtherFrame(), TypeError, 'OtherFrame: pass df.to_pandas()'),
                           (df.to_dict('list'), TypeError, 'pass pd.DataFrame(df)'),
                           (df[:0], ValueError, 'no rows'), (pd.concat([df, df[['a']]], axis=1), ValueError, "more than one column ['a']"),
                           (pd.concat([df, df[['label']]], axis=1), ValueError, "more than one column ['label']"),
                           (df.drop(columns='a'), ValueError, "no columns ['a']"), (df.astype({'a': str}), TypeError, 'must be numeric')):
        with pytest.raises(error) as e: read(bad)
        assert says in str(e.value)
    for values in ([], {}):
        with pytest.raises(ValueError, match='no columns'): series_from_wide(df, 'label', values)
    with pytest.raises(ValueError, match='no columns'): series_from_long(df, 'label', [], 'id')
    for call in (lambda o: series_from_long(df, 'label', o, 'id'), lambda o: series_from_wide(df, 'label', o)):
        with pytest.raises(TypeError, match='has no order: pass a list'): call({'a', 'b'})

def test_other_columns_may_be_there_twice():
    df = long_frame()
    twice = pd.concat([df, df[['b']]], axis=1)
    assert series_from_long(twice, 'label', 'a', 'id')[1].tolist() == series_from_long(df, 'label', 'a', 'id')[1].tolist()

def test_variables_of_a_list_of_frames_are_found_by_name():
    a, b = (pd.DataFrame(np.arange(6.).reshape(3, 2) + i, columns=['u', 'v']) for i in (0, 10))
    X = series_from_sktime([a, b[['v', 'u']]])
    np.testing.assert_array_equal(X, np.stack([a.T, b.T]))
    for bad in (b.rename(columns=dict(u='w')), b[['u']], b.assign(w=1.)):
        with pytest.raises(ValueError, match="series 1 has the columns .*those of series 0 are \\['u', 'v'\\]"):
            series_from_sktime([a, bad])
    with pytest.raises((ValueError, TypeError)): series_from_sktime([a, pd.concat([b, b[['u']]], axis=1)])
