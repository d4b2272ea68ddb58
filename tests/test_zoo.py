"The registry of the models: complete, and true in all that it says of them."
import inspect

import pytest
import torch
from torch import nn

from tests.common import series
from tsai_rnnattn import models
from tsai_rnnattn.core import count_parameters
from tsai_rnnattn.layers.attention import attention_maps
from tsai_rnnattn.layers.heads import mean_pool_head
from tsai_rnnattn.models import Arch, build_arch, get_arch, zoo_models, zoo_table
from tsai_rnnattn.testing import assert_model, assert_token_model, random_tokens

ROWS = {o['name']: o for o in zoo_table()}
each_arch = pytest.mark.parametrize('name', zoo_models)

def build(name, c_out=4, seq_len=7, **kw):
    if zoo_models[name].reads == 'token ids': kw['padding_idx'] = 0
    return build_arch(get_arch(name), 3 if zoo_models[name].reads == 'series' else 13, c_out, seq_len, **kw)

def batch(name, sl=7): return series(sl=sl) if zoo_models[name].reads == 'series' else random_tokens(5, 13, sl)

def test_all_models_are_registered():
    classes = {o for o in vars(models).values() if inspect.isclass(o) and issubclass(o, nn.Module)}
    assert classes == {o.model for o in zoo_models.values()}

@each_arch
def test_models_keep_the_contract(name):
    "Among others, they take `lengths`"
    if zoo_models[name].reads == 'series': assert_model(lambda: build(name), 3, 7, [4], any_sl=ROWS[name]['any_steps'])
    else: assert_token_model(lambda: build(name), 13, 7, [4], padding_idx=0)

@each_arch
def test_any_number_of_steps(name):
    model = build(name).eval()
    if ROWS[name]['any_steps']: assert model(batch(name, 11)).shape == (5, 4)
    else:
        with pytest.raises(ValueError, match='expected'): model(batch(name, 11))
        assert build(name, seq_len=None, custom_head=mean_pool_head)(batch(name, 11)).shape == (5, 4)

@each_arch
def test_tasks(name):
    want = ['classification', 'regression', 'any shape d'] if 'features' not in ROWS[name]['tasks'] else ['features']
    assert ROWS[name]['tasks'] == want
    if want == ['features']: assert hasattr(build(name)[0], 'output_dim')
    else: assert build(name, d=(2, 3))(batch(name)).shape == (5, 2, 3, 4) and build(name, 1)(batch(name)).shape == (5, 1)

@each_arch
def test_attention(name):
    model, x = build(name).eval(), batch(name)
    if ROWS[name]['attention'] == 'map': assert attention_maps(model, x).shape == (3, 5, 16, 7, 7)
    else:
        with pytest.raises(ValueError, match='has no MultiHeadAttention'): attention_maps(model, x)
    model(x)
    shapes = [m.attention_weights.shape for m in model.modules() if hasattr(m, 'attention_weights')]
    assert shapes == [(5, 7)] * (ROWS[name]['attention'] == 'steps')

@each_arch
def test_stateful(name):
    if not ROWS[name]['stateful']:
        with pytest.raises(TypeError, match="no argument 'stateful'"): build(name, stateful=True)
        return
    model = build(name, stateful=True).eval()
    first, second = model(batch(name)), model(batch(name))
    model.reset()
    assert not torch.equal(first, second) and torch.equal(model(batch(name)), first)

@each_arch
def test_parameters_are_those_of_the_model(name):
    size = dict(series=9).get(ROWS[name]['reads'], 1000)
    assert ROWS[name]['parameters'] == count_parameters(build_arch(get_arch(name), size, 2, 60))
    assert {o['name']: o['parameters'] for o in zoo_table(3, 4, 7, 13)}[name] == count_parameters(build(name))

def test_the_table_is_plain():
    assert all(type(v) in (str, bool, int, list) for row in ROWS.values() for v in row.values())
    assert all(row['url'].startswith('https://') and row['paper'] and row['origin'] for row in ROWS.values())
    assert isinstance(zoo_models['GRUPlus'], Arch)

@pytest.mark.parametrize('name,near', [('gruattention', 'GRUAttentionPlus'), ('LSTM', 'LSTMPlus'), ('Attentive_RNN', 'AttentiveRNN')])
def test_an_unknown_name_is_refused_with_the_likely_one(name, near):
    with pytest.raises(ValueError, match=f"model '{name}' is unknown. Did you mean '{near}'"): get_arch(name)

@pytest.mark.parametrize('name', ['', 'os.system', '__class__', 'Arch', None, 7])
def test_no_name_leads_elsewhere(name):
    with pytest.raises(ValueError, match='is unknown. Expected one of'): get_arch(name)

def test_pretrained_vectors_replace_the_size_of_the_embedding():
    model = build('AttentiveRNN', embed_matrix=torch.zeros(13, 6))
    assert model[0].word_embed.embedding_dim == 6
