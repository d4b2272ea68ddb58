"""Titles of news in four classes: weighted F1 on the test split, and seconds per epoch compared with a plain PyTorch loop.

    TSAI_RNNATTN_DATA=... .venv/bin/python -m benchmarks.text

reads `text/news.csv` (columns X and y) in a directory of $TSAI_RNNATTN_DATA, and writes text.md and text.csv into `benchmarks/results`.
70 % of each class are for training, 15 % for validation and 15 % for the test, drawn with seed 0. Settings were chosen on the validation
split. A model is trained for a fixed number of epochs, and then the test split is read once.
"""
import os
from functools import partial
from pathlib import Path
from statistics import mean

import fastai.callback.all  # noqa: F401 (gives Learner its fit_one_cycle)
import numpy as np
import pandas as pd
import torch
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from fastai.torch_core import set_seed
from fastcore.script import call_parse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from benchmarks.common import interleave, machine
from benchmarks.report import show, table
from tsai_rnnattn.data.text import TextDataLoaders
from tsai_rnnattn.layers.encoder import TSTEncoder
from tsai_rnnattn.layers.heads import pool_head
from tsai_rnnattn.layers.pooling import (AdditiveAttentionPool, AttentionPool, HardAttentionPool, LastState, LocalAttentionPool, MeanPool,
                                         SelfAttentionPool)
from tsai_rnnattn.models.rnn import RNNClassifier

POOLS = {'soft attention, linear score': AttentionPool, 'soft attention, additive score': AdditiveAttentionPool,
         'local attention, window of 3 steps': partial(LocalAttentionPool, window=3), 'hard attention': HardAttentionPool,
         'self-attention': lambda d: SelfAttentionPool(TSTEncoder(None, d, n_heads=4, n_layers=1)), 'last states': LastState(),
         'mean': MeanPool()}
SEEDS, EPOCHS, LR = (0, 1, 2), 6, 1e-2


# data

def find(name='text/news.csv'):
    "The file in the directories of $TSAI_RNNATTN_DATA"
    found = [p for o in os.environ.get('TSAI_RNNATTN_DATA', '').split(os.pathsep) if o and (p := Path(o)/name).is_file()]
    if not found: raise FileNotFoundError(f"no directory of TSAI_RNNATTN_DATA has {name}")
    return found[0]

def loaders(fname): return TextDataLoaders.from_csv(fname, 'X', 'y', valid_pct=(0.15, 0.15), seed=0, val_bs=256)

def vectors(ds, dim=100):
    """Vectors of tokens from the texts of `ds` alone: how much more often two tokens occur in the same text than by chance (positive
    pointwise mutual information), reduced to `dim` features"""
    occurs = np.zeros((len(ds), ds.vocab_size), np.float32)
    for o,row in zip(occurs, ds.rows): o[ds.X[row]] = 1
    together = occurs.T @ occurs
    total = together.sum(0)
    by_chance = np.outer(total, total).clip(1) / total.sum()
    v = TruncatedSVD(dim, random_state=0).fit_transform(np.log((together / by_chance).clip(1)))
    return 0.3 * v / v.std()


# models

def classifier(dls, pool=AttentionPool, embed_matrix=None, **kwargs):
    options = dict(hidden_size=64, rnn_type='gru', bidirectional=True, token_dropout=0.3, embed_dropout=0.5, fc_dropout=0.5)
    return RNNClassifier(dls.vocab_size, dls.c, embed_matrix=embed_matrix, custom_head=partial(pool_head, pool, use_bn=False),
                         **{**options, **kwargs})

def train(dls, seed, make):
    "A learner with the model that `make` returns"
    set_seed(seed)
    learn = Learner(dls, make())
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(EPOCHS, LR, wd=0.01)
    return learn

def f1(learn, split):
    with learn.no_bar(): probs, truth = learn.get_preds(ds_idx=split)
    return f1_score(truth, probs.argmax(1), average='weighted')

def variants(dls):
    "The models by name"
    pretrained = vectors(dls.train_ds)
    yield from ((name, partial(classifier, dls, pool, pretrained)) for name,pool in POOLS.items())
    yield 'soft attention, linear score, random vectors', partial(classifier, dls)
    yield '  also without token dropout', partial(classifier, dls, token_dropout=0.)
    yield '  also with vectors of standard deviation 1', partial(unit_vectors, dls)

def unit_vectors(dls):
    model = classifier(dls, token_dropout=0.)
    nn.init.normal_(model.embed.weight)
    return model

def measure_models(dls):
    for name,make in variants(dls):
        learners = [train(dls, seed, make) for seed in SEEDS]
        scores = [(f1(o, 1), f1(o, 2)) for o in learners]
        valid, test = zip(*scores)
        yield dict(work='F1', model=name, valid=mean(valid), test=mean(test), least=min(test), most=max(test), seeds=len(test))

def measure_linear(fname, dls):
    "TF-IDF of words, or of words and pairs, with logistic regression; strength and pairs chosen on validation"
    df = pd.read_csv(fname, keep_default_na=False)
    clean = df.X.map(dls.tokenizer.normalizer.normalize_str)
    split = [dl.dataset.rows for dl in dls.loaders]
    def scores(pairs, C):
        features = TfidfVectorizer(ngram_range=(1, 1 + pairs), sublinear_tf=True, token_pattern=r'\S+').fit(clean[split[0]])
        fitted = LogisticRegression(C=C, max_iter=1000).fit(features.transform(clean[split[0]]), df.y[split[0]])
        return [f1_score(df.y[o], fitted.predict(features.transform(clean[o])), average='weighted') for o in split[1:]]
    valid, test = max(scores(pairs, C) for pairs in (False, True) for C in (0.3, 1, 3, 10, 30))
    yield dict(work='F1', model='TF-IDF, logistic regression', valid=valid, test=test, least=test, most=test, seeds=1)


# speed

def plain_loop(dls, model):
    "One epoch of training and validation in plain PyTorch, with the same texts, model, loss and optimizer"
    def collate(batch):
        ids, y = zip(*batch)
        return pad_sequence(ids, batch_first=True), torch.tensor([len(o) for o in ids]), torch.stack(y)
    def loader(ds, bs, shuffle):
        texts = [(torch.tensor(ds.X[i]).long(), ds.y[i].as_subclass(torch.Tensor)) for i in ds.rows]
        return DataLoader(texts, bs, shuffle, collate_fn=collate)
    batches, valid = loader(dls.train_ds, 64, True), loader(dls.valid_ds, 256, False)
    opt = torch.optim.AdamW(model.parameters(), LR)
    loss_func = nn.CrossEntropyLoss()
    def epoch():
        model.train()
        for x,lengths,y in batches:
            loss_func(model(x, lengths), y).backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        with torch.no_grad():
            for x,lengths,y in valid: loss_func(model(x, lengths), y)
    return epoch

def learner_epoch(dls, model):
    learn = Learner(dls, model, opt_func=partial(OptimWrapper, opt=torch.optim.AdamW))     # that of the plain loop
    def epoch():
        with learn.no_bar(), learn.no_logging(): learn.fit(1, LR)
    return epoch

def measure_speed(dls, repeats=7):
    works = dict(plain=plain_loop(dls, classifier(dls)), ours=learner_epoch(dls, classifier(dls)))
    for row in interleave(works, repeats, budget=600.): yield dict(work='epoch', **row)


# report

INTRO = """Weighted F1 of four classes, on 1,500 titles for validation and 1,500 for the test, after training on 7,000. The settings were
chosen on validation, for the first model. A model is trained for {epochs} epochs with each of {seeds} seeds, and then the test split is
read once. The table has the means, and the range of the test."""
MODELS = """The models are bidirectional GRUs with 64 features per direction, which differ in how they pool their outputs. Their vectors of
tokens begin with what occurs together in the titles of training (`vectors` in `benchmarks/text.py`), except where the table says
otherwise."""
SPEED = """An epoch of training and validation takes {ours} with `Learner` and `TextDataLoaders`, and {plain} in a plain PyTorch loop with
the same model: {ratio:.2f} times (at most 1.1)."""
LESSON = 'RNN with attention in *Made With ML*, published, trained on 84,000 titles of the same source'

def page(rows, describe):
    "The figures as markdown"
    scores = [r for r in rows if r['work'] == 'F1']
    lines = [(r['model'], f"{r['valid']:.3f}", f"{r['test']:.3f}", f"{r['least']:.3f} to {r['most']:.3f}" if r['seeds'] > 1 else '')
             for r in scores]
    seconds = {r['library']: r['value'] for r in rows if r['work'] == 'epoch'}
    speed = SPEED.format(ratio=seconds['ours'] / seconds['plain'], **{k: show(v, 's') for k,v in seconds.items()})
    parts = ['# Titles of news', '\n'.join(f'- {o}' for o in describe), INTRO.format(epochs=EPOCHS, seeds=len(SEEDS)),
             table(['model', 'validation', 'test', 'range'], [*lines, (LESSON, '', '0.813', '')]), MODELS, speed]
    return '\n\n'.join(parts) + '\n'

@call_parse
def main(
    path:Path=Path('benchmarks/results'), # directory for the results
    threads:int=1, # threads that torch uses
):
    "Measure F1 and seconds per epoch, and write the results as markdown and CSV"
    torch.set_num_threads(threads)
    fname = find()
    dls, rows = loaders(fname), []
    for measured in (measure_speed(dls), measure_linear(fname, dls), measure_models(dls)):
        for row in measured:
            print(row, flush=True)
            rows.append(row)
    pd.DataFrame(rows).to_csv(path/'text.csv', index=False)
    packages = 'tsai_rnnattn', 'torch', 'fastai', 'tokenizers', 'scikit-learn', 'numpy'
    (path/'text.md').write_text(page(rows, machine(os.cpu_count(), threads, packages=packages)))
    print((path/'text.md').read_text())
