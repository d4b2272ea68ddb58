"""A learner exported before the modules were renamed still loads, and predicts what it predicted.

`learner_before_renaming.pkl` holds an `LSTMAttentionPlus` trained on JapaneseVowels for two epochs with
`TSDataLoaders.from_numpy(X, y, splits, bs=32, batch_tfms=[TSImpute(), TSStandardize(), TSJitter()])`, exported at commit e6553a7."""
import pickle
from pathlib import Path

import torch

from tests.common import load_exported
from tsai_rnnattn.data.archives import get_UCR_data
from tsai_rnnattn.layers.dropout import FastDropout
from tsai_rnnattn.layers.encoder import TSTEncoder
from tsai_rnnattn.layers.norm import SeriesBatchNorm1d, StepBatchNorm
from tsai_rnnattn.layers.pooling import MaxOverTime

OLD = Path(__file__).parent/'learner_before_renaming.pkl'
PROBS = {0: [0.120928, 0.102632, 0.133194, 0.131151, 0.078491, 0.076069, 0.108746, 0.138603, 0.110186],
         100: [0.075063, 0.108897, 0.133633, 0.070605, 0.115402, 0.148603, 0.172935, 0.109808, 0.065054]}

def test_it_loads_and_predicts_the_same():
    learn = load_exported(OLD)
    X, _, splits = get_UCR_data('JapaneseVowels', split_data=False)
    with learn.no_bar():
        for i,want in PROBS.items(): torch.testing.assert_close(learn.predict(X[splits[1][i]])[2], torch.tensor(want), atol=1e-5, rtol=1e-4)

def test_former_names_of_layers_are_found():
    "As pickle looks them up: an exported model always names `layers.tst` first, for its encoder"
    for module, name, new in (('tst', '_TSTEncoder', TSTEncoder), ('tst', '_StepBatchNorm', StepBatchNorm),
                              ('tst', '_Dropout', FastDropout), ('heads', '_SeriesBatchNorm1d', SeriesBatchNorm1d),
                              ('heads', 'MaxPool', MaxOverTime)):
        assert pickle.loads(f'ctsai_rnnattn.layers.{module}\n{name}\n.'.encode()) is new
