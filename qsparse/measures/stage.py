"""A stage: a plain model is taken through the arms of a recipe, and given back."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from qsparse.engine.compressor import attach, discard
from qsparse.engine.observers import InputQuantizer
from qsparse.engine.state import state_of
from qsparse.keras_compat import walk_layers
from qsparse.measures.arms import Arms
from qsparse.measures.given_back import given_back
from qsparse.oneshot.settle import estimate_statistics, find_ranges
from qsparse.planning.recipe import Recipe
from qsparse.planning.targets import NORMS


class Stage:
    """A model that carries a recipe for a while, with masks of both orders.

    Args:
        model: the compressed model.
        inputs: batches that statistics and ranges are found on.
        renormalize: whether the moving statistics of BatchNormalization are estimated.

    Attributes:
        arms: what the model can be brought to.
    """

    def __init__(
        self, model: keras.Model, inputs: Sequence[Any], renormalize: bool
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._renormalize = renormalize
        self.arms = Arms(model)
        self.arms.select()
        # Statistics of the dense model, and ranges that are unknown.
        self._start = [(v, np.array(v.numpy())) for v in _settled(model)]

    def go(self, arm: str) -> None:
        """Brings the model to an arm, with the statistics and the ranges it has there.

        Args:
            arm: of `Arms.names`.
        """
        self.arms.take(arm)
        for variable, value in self._start:
            variable.assign(value)
        with untraced(self._model):
            if self._renormalize:
                estimate_statistics(self._model, self._inputs)
            find_ranges(self._model, self._inputs)


@contextmanager
def staged(
    model: keras.Model,
    recipe: Recipe,
    inputs: Sequence[Any],
    *,
    score_data: Any = None,
    renormalize: bool = True,
) -> Iterator[Stage]:
    """Attaches a recipe to a plain model for a while; gives it back bit for bit.

    Args:
        model: a built model without a recipe.
        recipe: one that prunes and quantizes.
        inputs: batches that statistics and ranges are found on.
        score_data: as of `qsparse.attach`.
        renormalize: as of `Stage`.
    """
    with given_back(model):
        try:  # What warns once the recipe is on may raise.
            with warnings.catch_warnings():
                # That zeros grow back, which they do in training only.
                warnings.filterwarnings("ignore", ".*but it has no masks")
                attach(model, recipe, score_data=score_data)
            yield Stage(model, inputs, renormalize)
        finally:
            discard(model)


@contextmanager
def untraced(model: keras.Model) -> Iterator[None]:
    """Lets layers of a compressed model know that nothing traces the calls inside."""
    state: Any = state_of(model)
    state.untraced = True
    try:
        yield
    finally:
        state.untraced = False


def _settled(model: keras.Model) -> Iterator[keras.Variable]:
    """Yields what settling changes of a model."""
    for _, layer in walk_layers(model):
        if isinstance(layer, NORMS):
            yield from layer.non_trainable_variables
        elif isinstance(layer, InputQuantizer):
            yield from (layer.ranges, layer.step)
