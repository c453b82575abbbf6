"""What a model is measured by, on some batches of data."""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.batches import Batches
from qsparse.keras_compat import metric_direction

Metric = Callable[[keras.Model], float]
# Of outputs, against those of the model as it is.
NOISE = "noise"


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
        measure: returns it, as the model is now: a number for each batch, or one.
        weights: what each of these numbers weighs in their mean.
    """

    name: str
    less_is_better: bool
    measure: Callable[[], list[float]]
    weights: tuple[float, ...] = (1.0,)

    def measured(self, place: str) -> float:
        """Returns what is measured now; see `measured_each`."""
        return self.mean(self.measured_each(place))

    def measured_each(self, place: str) -> np.ndarray:
        """Returns what is measured now, float64 `(batches,)`.

        Args:
            place: what of the model is unusual, for the error.

        Raises:
            ValueError: if it is not finite.
        """
        values = np.array(self.measure(), np.float64)
        if not np.isfinite(values).all():
            value = values[~np.isfinite(values)][0]
            raise ValueError(
                f"{self.name} is {value} for {place}. Look for NaN in data and "
                "weights, or measure something that stays finite."
            )
        return values

    def mean(self, values: np.ndarray) -> float:
        """Returns what numbers of all batches come to."""
        return float(np.average(values, weights=self.weights))


def gauge_of(
    model: keras.Model, samples: Samples, metric: str | Metric | None
) -> Gauge:
    """Returns what a user asks to be measured, or what there are data for."""
    if not (metric is None or isinstance(metric, str) or callable(metric)):
        raise ValueError(
            "`metric` must be a name, None or a function of the model; data is one "
            f"thing, as (x, y). Received: metric of type {type(metric).__name__}"
        )
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return Gauge(name, False, lambda: [float(metric(model))])
    if metric == NOISE or (metric is None and not samples.labelled):
        return _noise(model, samples)
    name = "loss" if metric is None else metric
    if not samples.labelled or not model.compiled:
        lacking = "are no labels" if model.compiled else "is no compiled loss"
        raise ValueError(
            f"There {lacking} to measure metric={name!r} by. Compile the model and "
            "give data=(x, y); inputs alone are measured by the noise of the "
            "outputs; or let `metric` be a function of the model."
        )
    known = name == "loss"
    if not known:  # Keras builds compiled metrics with the first batch.
        known = name in model.test_on_batch(*samples.batches[0], return_dict=True)
    direction = metric_direction(model, name) if known else None
    if direction is None:
        raise ValueError(
            f"metric={name!r} is no compiled metric, or Keras does not know whether "
            "more of it is better. Give the name of another, None for the loss, or a "
            "function of the model that is higher where the model is better."
        )

    def measure() -> list[float]:
        return [
            float(model.test_on_batch(*batch, return_dict=True)[name])
            for batch in samples.batches
        ]

    return Gauge(name, direction == "down", measure, tuple(map(float, samples.sizes)))


def _noise(model: keras.Model, samples: Samples) -> Gauge:
    """Returns a measure of how far outputs are from those of now."""

    def outputs() -> list[list[np.ndarray]]:
        return [
            [
                np.asarray(output, np.float64)
                for output in keras.tree.flatten(model.predict_on_batch(x))
            ]
            for x, _, _ in samples.batches
        ]

    def power(batch: list[np.ndarray]) -> float:
        return sum(float(np.square(output).sum()) for output in batch)

    clean = outputs()
    powers = [power(batch) for batch in clean]
    if not sum(powers) > 0:
        raise ValueError(
            f"The outputs of model '{model.name}' are all zero, or not numbers, on "
            "these data: nothing to compare with."
        )

    def measure() -> list[float]:
        found = []
        for now, then, size in zip(outputs(), clean, powers, strict=True):
            difference = power([a - b for a, b in zip(now, then, strict=True)])
            # A batch without any output weighs nothing.
            found.append(difference / size if size else 0.0)
        return found

    return Gauge(NOISE, True, measure, tuple(powers))
