"Details of the checks that the notebook does not show."
import pytest
import torch

from tsai_rnnattn.checks import check_series

@pytest.mark.parametrize('shape,seq_len,hint', [
    ((5, 7, 3), None, 'look swapped'), ((5, 7, 3), 7, 'look swapped'), ((5, 7, 3), 8, 'c_in=7'), ((5, 4, 7), None, 'c_in=4'),
    ((5, 4, 7), 4, 'c_in=4'), ((5, 3, 8), 7, 'seq_len=8')])
def test_hint_for_a_wrong_shape(shape, seq_len, hint):
    with pytest.raises(ValueError, match=hint): check_series(torch.zeros(shape), 3, seq_len)
