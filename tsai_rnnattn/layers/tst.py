"""The former names of layers, which learners exported before the modules were renamed look up here. Import `layers.encoder` instead."""
# ruff: noqa: F401
from . import heads
from .dropout import FastDropout as _Dropout
from .encoder import _TSTEncoder, _TSTEncoderLayer
from .norm import SeriesBatchNorm1d, _BatchNorm1d
from .norm import StepBatchNorm as _StepBatchNorm
from .pooling import MaxOverTime

heads._SeriesBatchNorm1d, heads.MaxPool = SeriesBatchNorm1d, MaxOverTime
