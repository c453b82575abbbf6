"""What a model is measured by, on some batches of data."""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.batches import Batches
from qsparse.keras_compat import metric_direction

Metric = Callable[[keras.Model], float]


class Samples(NamedTuple):
    """The batches that a model is measured on.

    Attributes:
        batches: `(x, y, sample_weight)` each.
        sizes: how many samples each has.
    """

    batches: list[tuple[Any, Any, Any]]
    sizes: list[int]

    @property
    def total(self) -> int:
        """How many samples there are."""
        return sum(self.sizes)

    @property
    def labelled(self) -> bool:
        """Whether they have labels."""
        return all(y is not None for _, y, _ in self.batches)


def samples_of(model: keras.Model, data: Any, batch_size: int, batches: int) -> Samples:
    """Returns the first batches of what a user calls data."""
    if batch_size < 1 or batches < 1:
        raise ValueError(
            "`batch_size` and `batches` must be positive. "
            f"Received: batch_size={batch_size}, batches={batches}"
        )
    read = Batches(data, "data", rows=batch_size, model=model)
    found = list(islice(read, batches))
    if not found:
        raise read.nothing()
    return Samples(found, [len(keras.tree.flatten(x)[0]) for x, _, _ in found])


class Gauge(NamedTuple):
    """What a model is measured by.

    Attributes:
        name: what it is called.
        less_is_better: whether less of it is better.
        measure: returns it, as the model is now.
    """

    name: str
    less_is_better: bool
    measure: Callable[[], float]

    def measured(self, place: str) -> float:
        """Returns what is measured now.

        Args:
            place: what of the model is unusual, for the error.

        Raises:
            ValueError: if it is not finite.
        """
        value = float(self.measure())
        if not np.isfinite(value):
            raise ValueError(
                f"{self.name} is {value} for {place}. Look for NaN in data and "
                "weights, or measure something that stays finite."
            )
        return value


def gauge_of(
    model: keras.Model, samples: Samples, metric: str | Metric | None
) -> Gauge:
    """Returns what a user asks to be measured, or what there are data for."""
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return Gauge(name, False, lambda: float(metric(model)))
    if metric is None and not samples.labelled:
        return Gauge("noise", True, _noise(model, samples))
    name = "loss" if metric is None else metric
    if not samples.labelled or not model.compiled:
        lacking = "are no labels" if model.compiled else "is no compiled loss"
        raise ValueError(
            f"There {lacking} to measure metric={name!r} by. Compile the model and "
            "give data=(x, y); inputs alone are measured by the noise of the "
            "outputs; or let `metric` be a function of the model."
        )
    direction = metric_direction(model, name)
    if direction is None:
        raise ValueError(
            f"metric={name!r} is no compiled metric, or Keras does not know whether "
            "more of it is better. Give the name of another, None for the loss, or a "
            "function of the model that is higher where the model is better."
        )

    def measure() -> float:
        values = [
            model.test_on_batch(*batch, return_dict=True)[name]
            for batch in samples.batches
        ]
        return float(np.average(values, weights=samples.sizes))

    return Gauge(name, direction == "down", measure)


def _noise(model: keras.Model, samples: Samples) -> Callable[[], float]:
    """Returns a measure of how far outputs are from those of now."""

    def outputs() -> list[np.ndarray]:
        return [
            np.asarray(output, np.float64)
            for batch in samples.batches
            for output in keras.tree.flatten(model.predict_on_batch(batch[0]))
        ]

    clean = outputs()
    power = sum(float(np.square(output).sum()) for output in clean)
    if not power > 0:
        raise ValueError(
            f"The outputs of model '{model.name}' are all zero, or not numbers, on "
            "these data: nothing to compare with."
        )

    def measure() -> float:
        pairs = zip(outputs(), clean, strict=True)
        return sum(float(np.square(now - then).sum()) for now, then in pairs) / power

    return measure
