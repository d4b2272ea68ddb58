"The model zoo; needs PyTorch alone."
from .rnn import *
from .rnn_attention import *
from .attentive_rnn import *
from .zoo import *
