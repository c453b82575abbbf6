"""What is found once all weights are: statistics, ranges and where the clock stands."""

import keras

from qsparse.engine.feed import Feed
from qsparse.engine.norms import estimated_statistics
from qsparse.engine.phases import Phases
from qsparse.engine.state import state_of
from qsparse.oneshot.watch import call


def estimate_statistics(model: keras.Model, feed: Feed, batch_size: int) -> int:
    """Estimates the moving statistics of every BatchNormalization on the data.

    They become the mean over all batches, each weighed by its samples, of what a batch
    shows while all normalizations use its own statistics, as in training. What else
    training switches on, as dropout, stays off.

    Args:
        model: a compressed model.
        feed: the data.
        batch_size: samples of a call.

    Returns:
        How many normalizations there are that are not frozen.
    """
    with estimated_statistics(model) as norms:
        momenta = [norm.momentum for norm in norms]
        seen = 0
        try:
            for batch in feed.batches(batch_size) if norms else ():
                size = min(batch_size, feed.count - seen)
                for norm in norms:
                    norm.momentum = seen / (seen + size)
                call(model, batch)
                seen += size
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    return len(norms)


def complete(model: keras.Model, feed: Feed, batch_size: int) -> None:
    """Brings clock and switches to where a training would, and finds the ranges.

    Each batch counts as a step of training to the recipe's observer.

    Args:
        model: a compressed model whose weights and masks are found.
        feed: the data.
        batch_size: samples of a call.
    """
    state = state_of(model)
    Phases(model).complete()
    if state is None or not state.fake_quantizes:
        return
    state.calibrating = True
    try:
        for batch in feed.batches(batch_size):
            call(model, batch)
    finally:
        state.calibrating = False
