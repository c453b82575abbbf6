"""Normalization statistics: late in training they may stay what they are.

With statistics of its own batch, a BatchNormalization computes something else in
training than what is folded into the weights of the exported file. In the last steps
it normalizes as it will when it predicts, and the weights settle on that
(Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
2018, section 3.2.2).
"""

from typing import Any

from qsparse.engine.state import Compression, ModelState
from qsparse.planning.plan import LayerPlan


class FrozenStatistics(Compression):
    """Makes a BatchNormalization use its moving statistics while training.

    Gamma and beta go on training. The switch is `Switches.statistics_frozen`.

    Args:
        plan: what becomes of the layer.
        state: the model's shared state.
    """

    def __init__(self, plan: LayerPlan, state: ModelState) -> None:
        super().__init__(plan, state)
        self.built = True

    def quantize_inputs(self, inputs: Any) -> Any:
        """Returns the inputs: they are folded away, and quantized elsewhere."""
        return inputs

    def trains(self, training: Any) -> Any:
        """Returns whether the layer follows its batch, where the call says `training`.

        While statistics are estimated it does, though nothing else trains.
        """
        state = self.state()
        if state.estimating:
            return True
        return training and not state.switches.statistics_frozen

    def fix(self, on_grid: bool = True) -> None:
        """A traced graph predicts, and holds the moving statistics anyway."""

    def release(self) -> None:
        """Nothing was frozen."""

    def detach(self) -> None:
        """Nothing stays behind: the layer trains its statistics again."""
