"What an import costs: a server that only predicts must not pay for training."
import json
import subprocess
import sys

import pytest

def run(code):
    "The JSON that `code` prints in a fresh interpreter"
    return json.loads(subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout)

@pytest.mark.parametrize('module', ['core', 'layers.attention', 'layers.tst', 'layers.heads', 'layers.recurrent', 'testing', 'models', 'models.rnn_attention'])
def test_layers_and_models_need_torch_alone(module):
    code = "import json, sys; import torch; before = set(sys.modules)\n" \
           f"import tsai_rnnattn.{module}; print(json.dumps(sorted({{m.split('.')[0] for m in set(sys.modules) - before}})))"
    assert set(run(code)) - set(sys.stdlib_module_names) == {'tsai_rnnattn'}

def test_all_has_what_a_fastai_user_types():
    names = run("import json; from tsai_rnnattn.all import *; print(json.dumps(sorted(globals())))")
    for n in ('Learner', 'accuracy', 'set_seed', 'load_learner', 'ClassificationInterpretation', 'torch', 'np', 'get_UCR_data',
              'TSDataLoaders', 'TSStandardize', 'RNNAttentionPlus', 'LSTMAttentionPlus', 'GRUAttentionPlus', 'lin_nd_head', 'SigmoidRange',
              'attention_maps', 'record_attention', 'plot_attention', 'count_parameters', 'mean_pool_head', 'init_recurrent', 'CheckFiniteCallback'):
        assert n in names

@pytest.mark.parametrize('module', ['models.rnn_attention', 'data.loaders', 'all'])
def test_import_silences_no_warning(module):
    "Beyond what fastai and its requirements do to the filters by themselves"
    code = "import json, warnings; import fastai.basics, fastai.callback.all; before = list(warnings.filters)\n" \
           f"import tsai_rnnattn.{module}; print(json.dumps(before == list(warnings.filters)))"
    assert run(code)

def test_private_names_of_the_documentation_page_are_there():
    from tsai_rnnattn.layers.attention import _MultiHeadAttention, _ScaledDotProductAttention
    from tsai_rnnattn.layers.tst import _TSTEncoder, _TSTEncoderLayer
    assert all(o.__doc__ for o in (_MultiHeadAttention, _ScaledDotProductAttention, _TSTEncoder, _TSTEncoderLayer))
