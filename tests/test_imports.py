"What imports load and define: programs that only predict need no training library."
import json
import subprocess
import sys

import pytest

LIGHT = ('core', 'checks', 'testing', 'files', 'series', 'tokens', 'scaling', 'layers.norm', 'layers.dropout', 'layers.attention',
         'layers.pooling', 'layers.recurrent', 'layers.encoder', 'layers.heads', 'layers.embedding', 'models', 'models.rnn',
         'models.rnn_attention', 'models.attentive_rnn', 'models.zoo', 'export', 'onnx')

def run(code):
    "The JSON that `code` prints in a new interpreter"
    return json.loads(subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout)

@pytest.mark.parametrize('module', LIGHT)
def test_layers_and_models_need_only_torch(module):
    code = "import json, sys; import torch; before = set(sys.modules)\n" \
           f"import tsai_rnnattn.{module}; print(json.dumps(sorted({{m.split('.')[0] for m in set(sys.modules) - before}})))"
    assert set(run(code)) - set(sys.stdlib_module_names) == {'tsai_rnnattn'}

def test_frames_import_neither_fastai_nor_downloads():
    modules = run("import json, sys, tsai_rnnattn.data.frames; print(json.dumps([*sys.modules]))")
    assert not {'fastai', 'matplotlib', 'tsai_rnnattn.data.download'} & {*modules}

def test_texts_load_no_optional_package():
    code = "import json, sys, tsai_rnnattn.data.text; print(json.dumps([m for m in sys.modules if m.split('.')[0] in " \
           "('tokenizers', 'safetensors', 'torchvision', 'huggingface_hub') or m.startswith('fastai.text')]))"
    assert run(code) == []

def test_models_has_the_zoo():
    assert run("import json, tsai_rnnattn.models as m; print(json.dumps([o for o in vars(m) if o.endswith('Plus')]))") == \
        ['RNNPlus', 'LSTMPlus', 'GRUPlus', 'RNNAttentionPlus', 'LSTMAttentionPlus', 'GRUAttentionPlus', 'AttentiveRNNPlus']

def test_all_has_the_usual_names():
    names = run("import json; from tsai_rnnattn.all import *; print(json.dumps(sorted(globals())))")
    for n in ('Learner', 'accuracy', 'set_seed', 'load_learner', 'ClassificationInterpretation', 'torch', 'np', 'get_UCR_data',
              'TSDataLoaders', 'TSStandardize', 'RNNAttentionPlus', 'LSTMAttentionPlus', 'GRUAttentionPlus', 'lin_nd_head',
              'MultiHeadAttention', 'TSTEncoder', 'TSTEncoderLayer', 'MeanPool', 'padding_mask', 'attention_maps',
              'record_attention', 'plot_attention', 'show_attention', 'count_parameters', 'mean_pool_head', 'init_recurrent',
              'CheckFiniteCallback', 'RNN', 'LSTMPlus', 'RNNClassifier', 'AttentiveRNN', 'RecurrentLayer', 'token_embedding',
              'AdditiveAttentionPool',
              'TextDataLoaders', 'train_tokenizer', 'text_normalizer'):
        assert n in names
    assert not [n for n in names if n.startswith(('check_', 'assert_'))]

def test_all_replaces_no_name_of_fastai():
    code = "import json\nfrom fastai.basics import *\nfrom fastai.callback.all import *\nbefore = dict(globals())\n" \
           "from tsai_rnnattn.all import *\nprint(json.dumps([k for k,v in before.items() if globals()[k] is not v]))"
    assert run(code) == []

def test_an_import_leaves_learners_of_other_models_alone():
    code = "import json; from fastai.basics import *; import fastai.callback.all; before = list(defaults.callbacks)\n" \
           "import tsai_rnnattn.all; print(json.dumps(before == list(defaults.callbacks)))"
    assert run(code)

@pytest.mark.parametrize('module', ['models', 'data.loaders', 'all'])
def test_import_silences_no_warning(module):
    "fastai and its requirements change the filters; this library does not"
    code = "import json, warnings; import fastai.basics, fastai.callback.all; before = list(warnings.filters)\n" \
           f"import tsai_rnnattn.{module}; print(json.dumps(before == list(warnings.filters)))"
    assert run(code)

def test_names_of_tsais_documentation():
    from tsai_rnnattn.layers import attention, encoder
    for module, names in ((attention, ('MultiHeadAttention', 'ScaledDotProductAttention')), (encoder, ('TSTEncoder', 'TSTEncoderLayer'))):
        for name in names:
            cls = getattr(module, name)
            assert cls is getattr(module, f'_{name}') and cls.__name__ == f'_{name}' and name in module.__all__
