"Texts: cleaning, tokenizers, batches, training."
import os
import pickle
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.basics import ClassificationInterpretation, Learner, accuracy, set_seed
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau
from fastai.metrics import F1Score, Precision, Recall
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.metrics import f1_score
from torch import nn

import tsai_rnnattn.learner  # noqa: F401 (gives Learner its get_X_preds)
from tests.common import load_exported, quiet_fit
from tsai_rnnattn.core import padding_mask
from tsai_rnnattn.data.loaders import TSDataLoaders, draw_splits
from tsai_rnnattn.data.text import TextDataLoaders, TextDataset
from tsai_rnnattn.tokens import RaggedTokens, TextEncoder, text_normalizer, train_tokenizer

tokenizers = pytest.importorskip('tokenizers', reason='needs the extra [text]')
matplotlib.use('agg')

WORDS = dict(Business='oil stocks profits exports bank shares'.split(), Sports='tennis final coach olympic goal'.split(),
             World='election minister border treaty'.split())
FILL = ['the', 'new', 'week', 'of']

def corpus(n=130, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice(list(WORDS), n, p=[.5, .3, .2])
    def text(label): return ' '.join([*rng.choice(WORDS[label], rng.integers(1, 4)), *rng.choice(FILL, rng.integers(0, 5))])
    return [text(o) for o in y], y

TEXTS, Y = corpus()
SPLITS = np.arange(97), np.arange(97, 130)

class MeanOfWords(nn.Module):
    def __init__(self, vocab_size, c_out, d_model=11):
        super().__init__()
        self.embed, self.out = nn.Embedding(vocab_size, d_model, 0), nn.Linear(d_model, c_out)
    def forward(self, ids, lengths):
        assert ids.dtype == lengths.dtype == torch.int64 and lengths.shape == (len(ids),) and lengths.min() >= 1
        assert lengths.max() == ids.shape[1]                             # padded to the longest of the batch
        return self.out((self.embed(ids) * padding_mask(lengths, ids.shape[1])[..., None]).sum(1) / lengths[:, None])

def loaders(**kw): return TextDataLoaders.from_lists(**{**dict(texts=TEXTS, y=Y, splits=SPLITS, bs=13), **kw})
def learner(dls=None, **kw): dls = dls or loaders(); set_seed(0); return Learner(dls, MeanOfWords(dls.vocab_size, dls.c), **kw)
def predictions(learn, texts):
    with learn.no_bar(): return learn.get_X_preds(texts)

@pytest.fixture(scope='module')
def trained(): return quiet_fit(learner(metrics=accuracy), 6, 0.05)

# cleaning and tokenizers

def cleaned_by_the_lesson(text, stop_words=()):
    "The steps of `preprocess` in Made With ML's lesson Attention, in their order"
    text = text.lower()
    if stop_words: text = re.sub(r'\b(' + '|'.join(stop_words) + r')\b\s*', '', text)
    text = re.sub(r'\([^)]*\)', '', text)
    text = re.sub(r'([-;;.,!?<=>])', r' \1 ', text)
    return re.sub(' +', ' ', re.sub('[^A-Za-z0-9]+', ' ', text)).strip()

STOP_WORDS = sorted(ENGLISH_STOP_WORDS, key=len, reverse=True)
RAW = ["Great week for the NYSE!", "Stocks fall (Reuters)", "U.S.-based   firms<b>don't</b> wait; 3.5% = up?", "((a)b)c", "", "  ", "(",
       "The", "Zürich, Köln\tand\nParis", "E=mc2 &amp; co", "AT&T's 39 cents"]

@pytest.mark.parametrize('stop_words', ((), STOP_WORDS), ids=('all words', 'stop words'))
def test_cleaning_is_that_of_the_lesson(stop_words):
    clean = text_normalizer(stop_words).normalize_str
    for text in RAW: assert clean(text) == cleaned_by_the_lesson(text, stop_words)

@given(st.text(alphabet='aBthe ().,!?-<=>\n39é', max_size=40))
def test_cleaning_of_any_text(text):
    stop_words = ['the', 'a', 'be']
    assert text_normalizer(stop_words).normalize_str(text) == cleaned_by_the_lesson(text, sorted(stop_words, key=len, reverse=True))

def test_stop_words_hold_no_pattern_and_no_case():
    assert text_normalizer(['C.D', 'THE']).normalize_str('the ced c.d end') == 'ced end'

@pytest.mark.parametrize('char_level', (False, True))
def test_vocabulary_is_that_of_a_counter(char_level):
    split = list if char_level else str.split
    counts = Counter(o for t in TEXTS for o in split(cleaned_by_the_lesson(t)))
    most = sorted(counts, key=lambda o: (-counts[o], o))[:9]
    tokenizer = train_tokenizer(TEXTS, num_tokens=11, char_level=char_level)
    assert sorted(tokenizer.get_vocab(), key=tokenizer.token_to_id) == ['[PAD]', '[UNK]', *most]
    ids = {o: i + 2 for i,o in enumerate(most)}
    for t in TEXTS: assert tokenizer.encode(t).ids == [ids.get(o, 1) for o in split(cleaned_by_the_lesson(t))]

def test_min_freq_and_no_limit():
    texts = ['a a a b b c', 'd']
    assert train_tokenizer(texts, min_freq=1).get_vocab() == {'[PAD]': 0, '[UNK]': 1, 'a': 2, 'b': 3, 'c': 4, 'd': 5}
    assert train_tokenizer(texts).get_vocab().keys() == {'[PAD]', '[UNK]', 'a', 'b'}
    assert train_tokenizer(texts, 3).get_vocab().keys() == {'[PAD]', '[UNK]', 'a'}

def test_more_tokens_than_the_trainer_has_by_default():
    texts = [' '.join(f'w{i}' for i in range(k, k + 1000)) for k in range(0, 31_000, 1000)]
    assert train_tokenizer(texts, min_freq=1).get_vocab_size() == 31_002

def test_no_cleaning_and_special_tokens_as_words():
    raw = tokenizers.normalizers.Sequence([])
    tokenizer = train_tokenizer(['Oil [PAD] [UNK] oil, Oil oil,'], normalizer=raw)
    assert tokenizer.get_vocab() == {'[PAD]': 0, '[UNK]': 1, 'Oil': 2, 'oil,': 3}

@pytest.mark.parametrize('kw', (dict(), dict(char_level=True), dict(normalizer='stop words'), dict(max_len=3)), ids=str)
def test_tokenizer_in_json_encodes_alike(kw, tmp_path):
    if 'normalizer' in kw: kw = dict(normalizer=text_normalizer(ENGLISH_STOP_WORDS))
    tokenizer = train_tokenizer(TEXTS, **kw)
    tokenizer.save(str(tmp_path/'tokenizer.json'))
    loaded = tokenizers.Tokenizer.from_file(str(tmp_path/'tokenizer.json'))
    for text in [*TEXTS, *RAW]: assert loaded.encode(text).ids == tokenizer.encode(text).ids
    want, got = TextEncoder(tokenizer)([*TEXTS, *RAW]), TextEncoder(loaded)([*TEXTS, *RAW])
    assert (want.ids == got.ids).all() and (want.lengths == got.lengths).all()

@pytest.mark.parametrize('char_level', (False, True))
def test_decoding_inverts_encoding_of_known_tokens(char_level):
    encoder = TextEncoder(train_tokenizer(TEXTS, char_level=char_level, min_freq=1))
    X = encoder(TEXTS)
    for i,text in enumerate(TEXTS): assert encoder.decode(X[i]) == cleaned_by_the_lesson(text)

def bpe(*special, **kw):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(**kw))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXTS, tokenizers.trainers.BpeTrainer(vocab_size=60, special_tokens=list(special), show_progress=False))
    return tokenizer

def unigram():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram())
    tokenizer.train_from_iterator(TEXTS, tokenizers.trainers.UnigramTrainer(vocab_size=60, special_tokens=['<pad>', '<unk>'],
                                                                            unk_token='<unk>', show_progress=False))
    return tokenizer

def test_other_tokenizers_with_padding_truncation_and_marks():
    tokenizer = bpe('<unk>', '<pad>', '<s>', unk_token='<unk>')
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing('<s> $0', special_tokens=[('<s>', 2)])
    tokenizer.enable_padding(length=50, pad_id=1, pad_token='<pad>', direction='left')
    tokenizer.enable_truncation(4)
    before = tokenizer.to_str()
    dls = loaders(tokenizer=tokenizer)
    assert (dls.vocab_size, dls.padding_idx, dls.tokenizer.to_str()) == (60, 1, before) and tokenizer.to_str() == before
    for ids,n,_ in dls.valid:
        assert (ids[:, 0] == 2).all() and n.max() <= 4
        assert torch.equal(ids != 1, padding_mask(n, ids.shape[1]))
    assert 1 not in TextEncoder(tokenizer)(['oil <pad> <s> final'])[[0]][0, 1:]       # marks in a text are text

@pytest.mark.parametrize('make,unk', ((unigram, 1), (lambda: bpe('<unk>', '<pad>', unk_token='<unk>'), 0),
                                      (lambda: train_tokenizer(TEXTS), 1)), ids=('unigram', 'bpe', 'words'))
def test_empty_texts_are_one_unknown_token(make, unk):
    encoder = TextEncoder(make())
    X = encoder(['', 'oil', ''])
    assert X.lengths[0] == X.lengths[2] == 1 and X[0].tolist() == X[2].tolist() == [unk]

def test_a_tokenizer_without_unknown_token_refuses_empty_texts():
    encoder = TextEncoder(bpe('[PAD]'))
    assert encoder.unk_idx is None and len(encoder(['oil'])) == 1
    with pytest.raises(ValueError, match='text 1 is empty, and the tokenizer has no unknown token'): encoder(['oil', ''])

def test_padding_token_by_setting_by_name_or_refused():
    tokenizer = bpe('<unk>', 'nothing', unk_token='<unk>')
    with pytest.raises(ValueError, match='no padding token'): TextEncoder(tokenizer)
    tokenizer.enable_padding()                                           # '[PAD]', 0, which is another token
    with pytest.raises(ValueError, match='no padding token'): TextEncoder(tokenizer)
    tokenizer.enable_padding(pad_id=1, pad_token='nothing')
    assert TextEncoder(tokenizer).padding_idx == 1
    assert TextEncoder(TextEncoder(tokenizer).tokenizer).padding_idx == 1
    with pytest.raises(TypeError, match='got function: pass tokenizers.Tokenizer'): TextEncoder(loaders)

def test_ids_with_gaps_have_rows_in_the_embedding():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({'[PAD]': 0, '[UNK]': 1, 'oil': 100}, unk_token='[UNK]'))
    assert TextEncoder(tokenizer).vocab_size == 101

# batches

@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=12), st.data())
def test_ragged_tokens_are_padded_like_a_loop(ids, data):
    X, rows = RaggedTokens(ids, 0), data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=15))
    got = X[np.array(rows, int)]
    assert got.dtype == np.int64 and got.shape == (len(rows), max((len(ids[i]) for i in rows), default=0))
    for x,i in zip(got, rows): assert x.tolist() == ids[i] + [0] * (len(x) - len(ids[i]))

@pytest.mark.parametrize('kw', (dict(), dict(by_length=True), dict(num_workers=2), dict(val_bs=5)), ids=str)
def test_each_epoch_has_every_text_once_with_its_label(kw):
    texts = [' '.join(['a'] * (i % 7) + [f'w{i}']) for i in range(50)]
    splits, tokenizer = (range(37), range(37, 50)), train_tokenizer(texts, min_freq=1)
    dls = TextDataLoaders.from_lists(texts, np.arange(50) % 3, splits, bs=8, tokenizer=tokenizer, **kw)
    for dl,rows in zip(dls.loaders, splits):
        seen = [(dls.tokenizer.id_to_token(ids[n - 1].item()), n.item(), t.item()) for b in dl for ids,n,t in zip(*b)]
        assert sorted(seen) == sorted((f'w{i}', i % 7 + 1, i % 3) for i in rows)
        if dl is dls.valid: assert [o[0] for o in seen] == [f'w{i}' for i in rows]

def test_only_training_texts_train_the_tokenizer():
    texts = ['oil up oil up', 'gold up'] * 5 + ['tin tin tin oil'] * 4
    dls = TextDataLoaders.from_lists(texts, list('ab' * 7), (range(12), [12, 13]), tokenizer=partial(train_tokenizer, min_freq=9))
    assert dls.tokenizer.get_vocab().keys() == {'[PAD]', '[UNK]', 'oil', 'up'}       # all texts have 'tin' 12 times

def test_the_same_seed_gives_the_same_loaders():
    def first(): set_seed(5); return loaders(splits=None, seed=3, by_length=True).one_batch()
    torch.testing.assert_close(first(), first())
    assert loaders(splits=None, seed=3).train_ds.rows.tolist() != loaders(splits=None, seed=4).train_ds.rows.tolist()

def test_splits_of_the_lesson():
    dls = loaders(splits=None, valid_pct=(.15, .15), seed=0)
    rows = [dl.dataset.rows for dl in dls.loaders]
    assert [len(o) for o in rows] == [90, 20, 20] and sorted(np.concatenate(rows)) == list(range(130))
    for label in WORDS:
        counts = [(Y[o] == label).sum() for o in rows]
        assert all(abs(n - len(o) * (Y == label).mean()) <= 1 for n,o in zip(counts, rows))
    with (learn := learner(dls)).no_bar():
        assert len(learn.get_preds(ds_idx=2)[0]) == 20 and len(learn.validate(2)) == 1

@pytest.mark.parametrize('pcts,says', (((), r'valid_pct=\(\)'), ((.5, .5), 'so must the sum'), ((.2, -.1), 'between 0 and 1')))
def test_fractions_are_checked(pcts, says):
    with pytest.raises(ValueError, match=says): draw_splits(Y, pcts)

def test_splits_of_series_are_drawn_in_the_same_way():
    dls = TSDataLoaders.from_numpy(np.ones((130, 2, 5)), Y, valid_pct=(.15, .15), seed=0)
    assert [dl.dataset.rows.tolist() for dl in dls.loaders] == [o.dataset.rows.tolist()
                                                                 for o in loaders(splits=None, valid_pct=(.15, .15), seed=0).loaders]

def test_sampling_weights_and_class_weights():
    dls = loaders(weights=Y == 'World', class_weight='balanced')
    assert {dls.vocab[i] for *_,t in dls.train for i in t} == {'World'}
    counts = np.array([(Y[:97] == o).sum() for o in dls.vocab])
    np.testing.assert_allclose(dls.loss_func.func.weight, 97 / (3 * counts), rtol=1e-6)

def test_numbers_and_several_labels():
    share = np.array([np.mean([w in FILL for w in o.split()]) for o in TEXTS])
    dls = loaders(y=100 + share, standardize_y=True)
    assert (dls.vocab, dls.c) == (None, 1)
    learn = quiet_fit(learner(dls), 30, 0.1)
    with learn.no_bar(): assert learn.validate()[0] < .1
    np.testing.assert_allclose(predictions(learn, TEXTS[:3])[0][:, 0], 100 + share[:3], atol=.2)
    flags = np.stack([['oil' in o.split() for o in TEXTS], share > .3], 1)
    dls = loaders(y=flags)
    assert dls.c == 2 and quiet_fit(learner(dls)).recorder.losses[-1].isfinite()

def test_what_a_model_needs():
    dls = loaders()
    assert (dls.padding_idx, dls.c, list(dls.vocab), dls.n_inp) == (0, 3, list(WORDS), 2)
    assert dls.vocab_size == dls.tokenizer.get_vocab_size() and dls.len == max(len(o.split()) for o in TEXTS)
    with pytest.raises(AttributeError, match='dls.vocab_size'): getattr(dls, 'vars')  # noqa: B009
    assert repr(dls.train_ds).startswith('TextDataset: 97 texts')

# frames and files

def test_frames_and_files_give_the_batches_of_lists(tmp_path):
    df = pd.DataFrame(dict(title=TEXTS, topic=Y), index=np.arange(130)[::-1])
    df.to_csv(tmp_path/'a.csv', index=False)
    df.to_csv(tmp_path/'b.csv', index=False, sep='\t', encoding='utf-16')
    made = (TextDataLoaders.from_df(df, 'title', 'topic', splits=SPLITS),
            TextDataLoaders.from_csv(tmp_path/'a.csv', 'title', 'topic', splits=SPLITS),
            TextDataLoaders.from_csv(tmp_path/'b.csv', 'title', 'topic', 'utf-16', '\t', splits=SPLITS),
            loaders(texts=np.array(TEXTS), y=Y.tolist(), bs=64), loaders(texts=df.title, y=df.topic, bs=64))
    for dls in made: torch.testing.assert_close(dls.valid.one_batch(), loaders(bs=64).valid.one_batch())

def test_words_that_pandas_reads_as_missing(tmp_path):
    (tmp_path/'a.csv').write_text('text,label\nNA,None\nnull,None\n,b\n"x, ""y""",b\n"two\nlines",b\n\nnan,nan\n')
    ds = TextDataLoaders.from_csv(tmp_path/'a.csv', splits=([0, 2, 5], [1, 3, 4]), tokenizer=partial(train_tokenizer, min_freq=1)).train_ds
    assert ds.vocab == ['None', 'b', 'nan'] and ds.tokenizer.get_vocab().keys() == {'[PAD]', '[UNK]', 'na', 'nan'}
    assert ds.X.lengths.tolist() == [1, 1, 1, 2, 2, 1]

def test_label_columns_of_other_kinds(tmp_path):
    df = pd.DataFrame(dict(text=TEXTS, a=Y == 'World', b=Y == 'Sports', n=np.arange(130) % 5, z=np.arange(130) / 130))
    df.to_csv(tmp_path/'a.csv', index=False)
    for label_col,c,vocab in ((['a', 'b'], 2, [0, 1]), ('n', 5, [0, 1, 2, 3, 4]), ('z', 1, None), (['n', 'z'], 2, None),
                              ('a', 2, [False, True])):
        for dls in (TextDataLoaders.from_df(df, label_col=label_col), TextDataLoaders.from_csv(tmp_path/'a.csv', label_col=label_col)):
            assert (dls.c, dls.vocab) == (c, vocab)

BAD_FILES = {
    'empty': (b'', ValueError, 'is empty: expected a header'),
    'a header alone': (b'text,label\n', ValueError, 'has no rows'),
    'a missing column': (b'txt,label\nx,a\n', ValueError, r"no columns \['text'\]: it has \['txt', 'label'\]. Did you mean 'txt'\?"),
    'invalid UTF-8': (b'text,label\nx,a\nx\xff,b\n', ValueError, r'line 3: byte 16 is not utf-8 \(invalid start byte\); pass its encoding'),
    'invalid UTF-8 far inside': (b'text,label\n' + b'word,a\n' * 50_000 + b'caf\xe9,b\n', ValueError, 'line 50002: byte'),
    'an open quote': (b'text,label\n"x,a\ny,b\n', ValueError, 'EOF inside string'),
    'more values than the header': (b'text,label\nx,y,a\nz,w,b\n', ValueError, 'more values than its header'),
    'more values in a later row': (b'text,label\nx,a\nx,y,b\n', ValueError, 'Expected 2 fields in line 3, saw 3'),
    'no label': (b'text,label\nx,a\ny,\n', ValueError, "row 1 has no 'label'"),
    'a row that is cut': (b'text,label\nx,a\ny\n', ValueError, "row 1 has no 'label'"),
    'one class': (b'text,label\n' + b'x y,a\n' * 9, ValueError, "all samples of training have the label 'a'"),
}

@pytest.mark.parametrize('name', BAD_FILES)
def test_files_that_are_refused(name, tmp_path):
    data, error, says = BAD_FILES[name]
    (tmp_path/'a.csv').write_bytes(data)
    with pytest.raises(error, match=says): TextDataLoaders.from_csv(tmp_path/'a.csv')

def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError): TextDataLoaders.from_csv(tmp_path/'a.csv')

BAD_DATA = {
    'None among the texts': (lambda: dict(texts=[*TEXTS[:-1], None]), TypeError, 'text 129 is None'),
    'NaN among the texts': (lambda: dict(texts=[float('nan'), *TEXTS[1:]]), TypeError, 'text 0 is nan'),
    'numbers': (lambda: dict(texts=list(range(130))), TypeError, 'text 0 is 0, of type int'),
    'bytes': (lambda: dict(texts=[o.encode() for o in TEXTS]), TypeError, 'of type bytes'),
    'words': (lambda: dict(texts=[o.split() for o in TEXTS]), TypeError, 'of type list'),
    'one text': (lambda: dict(texts='oil'), TypeError, r'for one text, pass \[text\]'),
    'a data frame': (lambda: dict(texts=pd.DataFrame(dict(a=TEXTS))), TypeError, 'pass .* its column'),
    'no texts': (lambda: dict(texts=[], y=[]), ValueError, 'at least one text'),
    'half of a character': (lambda: dict(texts=['\ud83d', *TEXTS[1:]]), ValueError, 'text 0 is not valid Unicode'),
    'fewer labels': (lambda: dict(y=Y[:-1]), ValueError, '130 texts and 129 labels'),
    'a missing label': (lambda: dict(y=[*Y[:-1], None]), TypeError, 'label of sample 129 is None'),
    'a NaN among labels': (lambda: dict(y=[*Y[:-1].tolist(), float('nan')]), TypeError, 'label of sample 129 is nan'),
    'one class': (lambda: dict(y=['a'] * 130), ValueError, "label 'a': expected two or more"),
    'one class in training': (lambda: dict(y=['a'] * 97 + ['b'] * 33), ValueError, "'b' of sample 97 does not occur"),
    'a label that training lacks': (lambda: dict(y=[*Y[:-1], 'Weather']), ValueError, "'Weather' of sample 129 does not occur"),
    'splits that overlap': (lambda: dict(splits=([0, 1, 2], [2, 3])), ValueError, 'row 2 appears twice'),
    'splits out of range': (lambda: dict(splits=(range(100), range(100, 131))), ValueError, 'from 0 to 129'),
    'a class with one sample': (lambda: dict(y=['c', *Y[1:]], splits=None), ValueError, "class 'c' has only one sample"),
    'bs 0': (lambda: dict(bs=0), ValueError, 'bs=0'),
    'bs too large': (lambda: dict(bs=98, drop_last=True), ValueError, 'training has 97 samples'),
    'weights for others': (lambda: dict(weights=[1] * 97), ValueError, 'one per sample, 130 in total'),
    'unknown class_weight': (lambda: dict(class_weight='equal'), ValueError, "class_weight='equal'"),
    'texts without tokens': (lambda: dict(texts=['!!'] * 130), ValueError, 'no token occurs min_freq=2 times'),
    'a name for a tokenizer': (lambda: dict(tokenizer='bert-base-uncased'), TypeError, 'got str: pass tokenizers.Tokenizer'),
    'a function that trains nothing': (lambda: dict(tokenizer=len), TypeError, 'got int: pass tokenizers.Tokenizer'),
    'a misspelled argument': (lambda: dict(batch_sz=4), TypeError, 'batch_sz'),
}

@pytest.mark.parametrize('name', BAD_DATA)
def test_data_that_is_refused(name):
    make, error, says = BAD_DATA[name]
    with pytest.raises(error, match=says): loaders(**make())

@pytest.mark.parametrize('kw,says', ((dict(num_tokens=2), 'at least 3'), (dict(num_tokens=0), 'num_tokens=0'),
                                     (dict(min_freq=1.5), 'min_freq=1.5'), (dict(max_len=0), 'max_len=0')))
def test_sizes_of_a_tokenizer(kw, says):
    with pytest.raises(ValueError, match=says): train_tokenizer(TEXTS, **kw)

def test_misspelled_arguments_of_each_factory(tmp_path):
    df = pd.DataFrame(dict(text=TEXTS, label=Y))
    df.to_csv(tmp_path/'a.csv', index=False)
    for make,data in ((TextDataLoaders.from_df, df), (TextDataLoaders.from_csv, tmp_path/'a.csv'), (loaders().test_dl, TEXTS)):
        with pytest.raises(TypeError, match='batch_sz'): make(data, batch_sz=4)
    with pytest.raises(TypeError, match='not made from a DataBlock'): TextDataLoaders.from_dblock(None, None)

def test_datasets_of_your_own():
    ds = loaders().train_ds
    dls = TextDataLoaders.from_dsets(ds, ds.new(TEXTS[97:], Y[97:]), bs=13)
    torch.testing.assert_close(dls.valid.one_batch(), loaders().valid.one_batch())
    series = TSDataLoaders.from_numpy(np.ones((10, 2, 5)), np.arange(10) % 2).train_ds
    with pytest.raises(TypeError, match='got TSDataset: for texts'): TextDataLoaders.from_dsets(ds, series)
    encoder = TextEncoder(train_tokenizer(TEXTS, 5))
    other = TextDataset(encoder(TEXTS), Y, targets=ds.targets, encoder=encoder)
    with pytest.raises(ValueError, match='datasets of different kind'): TextDataLoaders.from_dsets(ds, other)
    with pytest.raises(ValueError, match='expected one for training'): TextDataLoaders.from_dsets(ds)

def test_the_package_of_tokenizers_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    with pytest.raises(ImportError, match=re.escape("pip install 'tsai_rnnattn[text]'")): loaders()


# learners

def test_learns_and_predicts(trained):
    assert trained.recorder.values[-1][-1] > .9
    with trained.no_bar(): label, index, probs = trained.predict('The final tennis tournament starts next week.')
    assert label == 'Sports' == trained.dls.vocab[index] and probs.argmax() == index
    assert probs.sum().item() == pytest.approx(1) and predictions(trained, ['Tennis!'])[2].tolist() == ['Sports']

def test_predictions_of_odd_texts(trained):
    texts = ['', '(Reuters)', '!?', 'zzz', 'oil', '[PAD]', 'zzz ' * 999]
    probs, none, labels = predictions(trained, texts)
    assert none is None and probs.shape == (7, 3) and np.isfinite(probs).all()
    for i in (1, 2, 3, 5): np.testing.assert_allclose(probs[i], probs[0], atol=1e-6)  # one unknown token
    with trained.no_bar():
        for text,p in zip(texts, probs): np.testing.assert_allclose(trained.predict(text)[2], p, atol=1e-6)
    got, truth, _ = trained.get_X_preds(TEXTS, Y, bs=7)
    assert (truth == Y).all()
    np.testing.assert_allclose(got, predictions(trained, TEXTS)[0], atol=1e-6)

@pytest.mark.parametrize('call,error,says', (
    (lambda learn: learn.predict(None), TypeError, 'text 0 is None'), (lambda learn: learn.predict(['oil']), TypeError, 'text 0 is'),
    (lambda learn: learn.get_X_preds('oil'), TypeError, r'pass \[text\]'),
    (lambda learn: learn.get_X_preds([]), ValueError, 'at least one text'),
    (lambda learn: learn.get_X_preds(['oil'], ['Weather']), ValueError, "'Weather'"),
    (lambda learn: learn.get_X_preds(['oil'], ['World'] * 2), ValueError, '1 texts and 2 labels'),
    (lambda learn: learn.get_X_preds(['oil'], lengths=[1]), TypeError, 'lengths')))
def test_predictions_that_are_refused(trained, call, error, says):
    with trained.no_bar(), pytest.raises(error, match=says): call(trained)

def test_metrics_callbacks_and_interpretation():
    metrics = [accuracy, Precision(average='weighted'), Recall(average='weighted'), F1Score(average='weighted'),
               *(F1Score(average='macro', labels=[i]) for i in range(3))]
    dls = loaders(class_weight='balanced')
    cbs = [EarlyStoppingCallback(patience=2, min_delta=10.), ReduceLROnPlateau(patience=1, min_delta=10.)]
    learn = learner(dls, metrics=metrics, cbs=cbs)
    with learn.no_bar(), learn.no_logging(): learn.fit(9, 0.02)
    assert len(learn.recorder.values) == 3 and learn.opt.hypers[-1]['lr'] < 0.02      # stopped early, after a smaller step
    with learn.no_bar():
        _, truth, pred = learn.get_preds(with_decoded=True)
        values = learn.validate()
        interp = ClassificationInterpretation.from_learner(learn)
    assert values[4] == pytest.approx(f1_score(truth, pred, average='weighted'))
    np.testing.assert_allclose(values[5:], f1_score(truth, pred, average=None), atol=1e-6)
    assert interp.confusion_matrix().sum() == 33
    interp.plot_confusion_matrix()
    matplotlib.pyplot.close('all')

def test_classification_report(trained, capsys):
    with trained.no_bar(): ClassificationInterpretation.from_learner(trained).print_classification_report()
    out = capsys.readouterr().out
    assert all(o in out for o in (*WORDS, 'precision', 'f1-score'))

def test_tables_of_texts(trained, capsys):
    trained.dls.valid.show_batch(max_n=2)
    out = capsys.readouterr().out
    for text,label in zip(TEXTS[97:99], Y[97:99]): assert text in out and label in out
    with trained.no_bar(): trained.show_results(max_n=5)
    assert 'prediction' in capsys.readouterr().out.splitlines()[0]
    trained.dls.test_dl(['oil', 'zzz']).show_batch()
    assert '[UNK]' in (out := capsys.readouterr().out) and 'label' not in out
    loaders(texts=['oil ' * 99] * 130).show_batch(max_n=1, trunc_at=7)
    assert 'oil oil…' in capsys.readouterr().out

def test_export_and_load_without_the_texts(trained, tmp_path):
    trained.export(tmp_path/'model.pkl')
    assert (tmp_path/'model.pkl').stat().st_size < 50_000
    loaded = load_exported(tmp_path/'model.pkl')
    np.testing.assert_array_equal(predictions(loaded, [*TEXTS, *RAW])[0], predictions(trained, [*TEXTS, *RAW])[0])
    assert (loaded.dls.vocab, loaded.dls.vocab_size, loaded.dls.len) == (trained.dls.vocab, trained.dls.vocab_size, trained.dls.len)
    assert len(loaded.dls.train_ds) == 0

def test_datasets_and_encoders_are_copied_by_pickle():
    ds = loaders().train_ds
    copy = pickle.loads(pickle.dumps(ds))
    torch.testing.assert_close(copy[[3, 0]], ds[[3, 0]])
    texts = ['oil [PAD] [UNK]', '']
    assert (copy.encoder(texts).ids == ds.encoder(texts).ids).all()

# 10,000 titles of news in a directory of $TSAI_RNNATTN_DATA

NEWS = [p for o in os.environ.get('TSAI_RNNATTN_DATA', '').split(os.pathsep) if o for p in (Path(o)/'text'/'news.csv', Path(o)/'news.csv')
        if p.is_file()]
needs_news = pytest.mark.skipif(not NEWS, reason='no directory of TSAI_RNNATTN_DATA has text/news.csv')

@needs_news
def test_titles_of_news():
    tokenizer = partial(train_tokenizer, num_tokens=5000, normalizer=text_normalizer(ENGLISH_STOP_WORDS))
    dls = TextDataLoaders.from_csv(NEWS[0], 'X', 'y', valid_pct=(.15, .15), seed=0, tokenizer=tokenizer, by_length=True)
    assert [len(dl.dataset) for dl in dls.loaders] == [7000, 1500, 1500] and list(dls.vocab) == ['Business', 'Sci/Tech', 'Sports', 'World']
    learn = quiet_fit(learner(dls, metrics=F1Score(average='weighted')), 4, 0.03)
    assert learn.recorder.values[-1][-1] > .7
    with learn.no_bar(): assert learn.predict('The final tennis tournament starts next week.')[0] == 'Sports'

@needs_news
@pytest.mark.parametrize('stop_words', ((), STOP_WORDS), ids=('all words', 'stop words'))
def test_titles_are_cleaned_by_the_lesson(stop_words):
    clean = text_normalizer(stop_words).normalize_str
    for text in pd.read_csv(NEWS[0], keep_default_na=False).X: assert clean(text) == cleaned_by_the_lesson(text, stop_words)
