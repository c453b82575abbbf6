"""Compression without training: masks and weights from a few hundred samples."""

from qsparse.oneshot.base import ONE_SHOT, Method
from qsparse.oneshot.magnitude import OneShotMagnitude
from qsparse.oneshot.obs import OBS
from qsparse.oneshot.report import LayerResult, OneShotReport
from qsparse.oneshot.run import one_shot
from qsparse.oneshot.sparsegpt import SparseGPT

__all__ = [
    "OBS",
    "ONE_SHOT",
    "LayerResult",
    "Method",
    "OneShotMagnitude",
    "OneShotReport",
    "SparseGPT",
    "one_shot",
]
