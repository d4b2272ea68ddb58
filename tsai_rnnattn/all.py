"""The library and fastai: `from tsai_rnnattn.all import *`. A server that only predicts imports `tsai_rnnattn.models` instead."""
from fastai.basics import *
from fastai.callback.all import *

from .core import *
from .data.archives import *
from .data.augment import *
from .data.dataset import *
from .data.download import *
from .data.frames import *
from .data.loaders import *
from .data.targets import *
from .data.text import *
from .data.transforms import *
from .data.types import *
from .interpret import *
from .layers.attention import *
from .layers.dropout import *
from .layers.embedding import *
from .layers.encoder import *
from .layers.heads import *
from .layers.norm import *
from .layers.pooling import *
from .layers.recurrent import *
from .learner import *
from .models import *
from .series import *
from .tokens import *
