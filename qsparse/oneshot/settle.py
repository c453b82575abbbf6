"""What is found once all weights are: statistics, ranges and where the clock stands."""

from collections.abc import Iterable
from typing import Any

import keras

from qsparse.engine.norms import estimated_statistics
from qsparse.engine.phases import Phases
from qsparse.engine.state import state_of
from qsparse.oneshot.watch import call


def estimate_statistics(model: keras.Model, batches: Iterable[Any]) -> int:
    """Estimates the moving statistics of every BatchNormalization on the data.

    They become the mean over all batches, each weighed by its samples, of what a batch
    shows while all normalizations use its own statistics, as in training. What else
    training switches on, as dropout, stays off.

    Args:
        model: a compressed model.
        batches: what it is called with, one after the other.

    Returns:
        How many normalizations there are that are not frozen.
    """
    with estimated_statistics(model) as norms:
        momenta = [norm.momentum for norm in norms]
        seen = 0
        try:
            for batch in batches if norms else ():
                size = len(keras.tree.flatten(batch)[0])
                for norm in norms:
                    norm.momentum = seen / (seen + size)
                call(model, batch)
                seen += size
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    return len(norms)


def complete(model: keras.Model, batches: Iterable[Any]) -> None:
    """Brings clock and switches to where a training would, and finds the ranges.

    Args:
        model: a compressed model whose weights and masks are found.
        batches: as of `find_ranges`.
    """
    Phases(model).complete()
    find_ranges(model, batches)


def find_ranges(model: keras.Model, batches: Iterable[Any]) -> None:
    """Lets ranges follow what the model is called with, where it fake-quantizes.

    Args:
        model: a compressed model.
        batches: what it is called with, one after the other. Each counts as a step of
            training to the recipe's observer.
    """
    state = state_of(model)
    if state is None or not state.fake_quantizes:
        return
    state.calibrating = True
    try:
        for batch in batches:
            call(model, batch)
    finally:
        state.calibrating = False
