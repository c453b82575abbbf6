"""Rewrites of the graph on its way to a file: one pass a file, in this order.

A new pass is a file with a class, and a line here. Every pass is proven while it runs,
see `run.py`: before and after, the outputs agree to the tolerance it states.
"""

from qsparse.tflite_export.files.precision import A16W8, DYNAMIC_RANGE, FLOAT, INT8
from qsparse.tflite_export.passes.bake_biases import BakeBiases
from qsparse.tflite_export.passes.bake_weights import BakeWeights
from qsparse.tflite_export.passes.base import Pass
from qsparse.tflite_export.passes.correct_biases import CorrectBiases
from qsparse.tflite_export.passes.equalize import Equalize
from qsparse.tflite_export.passes.factor_masks import FactorMasks
from qsparse.tflite_export.passes.find_ranges import FindRanges
from qsparse.tflite_export.passes.float_ends import FloatEnds
from qsparse.tflite_export.passes.float_islands import FloatIslands
from qsparse.tflite_export.passes.float_sums import FloatSums
from qsparse.tflite_export.passes.insert_ranges import InsertRanges
from qsparse.tflite_export.passes.keep_apart import KeepApart
from qsparse.tflite_export.passes.limit_masks import LimitMasks
from qsparse.tflite_export.passes.means_to_sums import MeansToSums
from qsparse.tflite_export.passes.neuron_groups import GroupNeurons
from qsparse.tflite_export.passes.patch_convolutions import PatchConvolutions
from qsparse.tflite_export.passes.place_ranges import PlaceRanges
from qsparse.tflite_export.passes.round_averages import RoundAverages
from qsparse.tflite_export.passes.round_operands import RoundOperands
from qsparse.tflite_export.passes.scale_residuals import ScaleResiduals
from qsparse.tflite_export.passes.simplify import Simplify
from qsparse.tflite_export.passes.slices import ReversalsToSlices
from qsparse.tflite_export.passes.smooth import Smooth
from qsparse.tflite_export.passes.to_depthwise import ToDepthwise
from qsparse.tflite_export.passes.uneven_inputs import UnevenInputs

# A file that computes in int8.
PASSES: list[Pass] = [
    Simplify(),  # all others look for products with one bias behind them
    ReversalsToSlices(),  # before ranges are placed: a slice keeps its scale
    FactorMasks(),  # before anything measures what a mask does to scores
    FloatEnds(),  # before `to_depthwise`, which would take a float end for a layer
    ToDepthwise(),  # behind the ends, before what looks for layers
    UnevenInputs(),  # what `to_depthwise` could not make a layer of
    GroupNeurons(),  # before `means_to_sums`: it adds sums of its own
    MeansToSums(),  # the last to change normalizations, so it says what they are
    PatchConvolutions(),  # needs to know the normalizations
    FloatSums(),  # needs all that is apart
    Smooth(),  # before `equalize`, which leaves what was divided alone
    Equalize(),  # weights take their last shape, so before they are rounded
    BakeWeights(),  # nothing changes weights behind it but by factors per channel
    CorrectBiases(),  # takes back what `bake_weights` shifted
    ScaleResiduals(),  # factors per channel of rounded weights are exact
    PlaceRanges(),  # the graph has its last form
    FindRanges(),  # on rounded weights, as the file computes
    LimitMasks(),  # needs the ranges of scores
    InsertRanges(),  # what is behind needs the fake-quant nodes
    RoundOperands(),  # looks at the nodes behind joins
    RoundAverages(),  # looks at the nodes before averages
    BakeBiases(),  # needs the scale of every input
]
# 65,535 levels reach from the smallest channel to the largest: nothing has to be
# divided, or brought to one size.
_FOR_FEW_LEVELS = (GroupNeurons, Smooth, Equalize, ScaleResiduals)
# A file with activations in int16, weights on the int8 grid.
A16W8_PASSES: list[Pass] = [
    *(step for step in PASSES[:-1] if not isinstance(step, _FOR_FEW_LEVELS)),
    FloatIslands(),  # behind all that rounds
    PASSES[-1],
]
# Weights on the int8 grid, activations in float.
DYNAMIC_RANGE_PASSES: list[Pass] = [
    Simplify(),
    KeepApart(),  # before weights are rounded: some are halved
    BakeWeights(),
]
FLOAT_PASSES: list[Pass] = [Simplify(), KeepApart()]
BY_PRECISION: dict[str, list[Pass]] = {
    INT8: PASSES,
    A16W8: A16W8_PASSES,
    DYNAMIC_RANGE: DYNAMIC_RANGE_PASSES,
    FLOAT: FLOAT_PASSES,
}
