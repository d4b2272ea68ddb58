"""Everything at once, fastai included: `from tsai_rnnattn.all import *`. A server that only predicts imports `tsai_rnnattn.models` instead."""
from fastai.basics import *
from fastai.callback.all import *

from .core import *
from .data.augment import *
from .data.download import *
from .data.frames import *
from .data.loaders import *
from .data.targets import *
from .data.transforms import *
from .data.ucr import *
from .interpret import *
from .layers.attention import *
from .layers.heads import *
from .layers.recurrent import *
from .layers.tst import *
from .learner import *
from .models.rnn_attention import *
