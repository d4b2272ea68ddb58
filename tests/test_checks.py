"Details of the checks that the notebook does not show."
import numpy as np
import pytest
import torch

from tsai_rnnattn.checks import check_series, check_X, check_y
from tsai_rnnattn.core import get_activation_fn

@pytest.mark.parametrize('shape,seq_len,hint', [
    ((5, 7, 3), None, 'look swapped'), ((5, 7, 3), 7, 'look swapped'), ((5, 7, 3), 8, 'c_in=7'), ((5, 4, 7), None, 'c_in=4'),
    ((5, 4, 7), 4, 'c_in=4'), ((5, 3, 8), 7, 'seq_len=8')])
def test_hint_for_a_wrong_shape(shape, seq_len, hint):
    with pytest.raises(ValueError, match=hint): check_series(torch.zeros(shape), 3, seq_len)

def test_targets_that_require_gradients_are_arrays_too():
    assert check_y(torch.ones(3, requires_grad=True), 3).tolist() == [1, 1, 1]

class NoDtype:
    "Has a shape and converts to an array, but has no dtype"
    shape = (2, 3, 4)
    def __array__(self, dtype=None, copy=None): return np.zeros(self.shape, dtype)

def test_an_object_without_a_dtype_is_converted(): assert check_X(NoDtype()).dtype == np.float64

def test_an_unknown_activation_without_a_similar_name():
    with pytest.raises(ValueError, match="'zzz' is unknown. Known names: relu, "): get_activation_fn('zzz')

@pytest.mark.parametrize('y,says', [
    (['a', float('nan'), 'b'], 'the label of sample 1 is nan'),
    (['a', None, 'b'], 'the label of sample 1 is None'), ((0, 'a', 'b'), 'the label of sample 0 is 0'),
    ([['a', 'b'], ['a', float('nan')], ['a', 'b']], 'the label of sample 1 is nan')], ids=str)
def test_labels_that_numpy_would_turn_into_strings_are_refused(y, says):
    with pytest.raises(TypeError, match=says): check_y(y, 3)

def test_a_list_of_strings_stays_one():
    assert check_y(['a', 'b', 'a'], 3).dtype.kind == 'U'
