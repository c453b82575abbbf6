"""Scoring: what criteria see that no step of training brings.

A user's data goes through the model as a step of training would take it, and nothing
stays behind: all of it happens in a scope where variables, among them statistics,
ranges and seeds, have values of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
from keras import ops

from qsparse.engine.batches import Batches
from qsparse.engine.gradients import with_gradients
from qsparse.engine.kernel import KernelCompression
from qsparse.keras_compat import (
    build_loss,
    keeps_second_moments,
    loss_of,
    second_moment,
    walk_layers,
)
from qsparse.methods.criteria import STATISTICS

# Floats of gradients that are held at once, where a criterion asks for every batch's:
# 256 MiB. A layer that has more of its own goes alone.
_AT_ONCE = 1 << 26
# Losses are multiplied by this in float16, whose gradients would else be rounded to
# zero, or by less if they overflow.
_LARGEST_SCALE = 2.0**15

Seen = dict[str, np.ndarray]


class Scoring:
    """Collects what criteria ask for of data and of the optimizer.

    Args:
        model: the model whose layers are scored.
        data: a user's data, or None.
    """

    def __init__(self, model: keras.Model, data: Batches | None) -> None:
        self._model = model
        self._data = data
        self._passes: dict[Any, _Pass] = {}

    def check(self, layers: Sequence[KernelCompression]) -> None:
        """Checks that there is what the criteria of layers ask for.

        Args:
            layers: all that are pruned; data that was of use before is no fault.

        Raises:
            ValueError: if a criterion asks for data and there is none, or for what the
                optimizer does not keep; or if there is data and none asks for it.
        """
        for layer in layers:
            if not layer.ranking.goes_on:
                continue
            criterion = layer.plan.criterion
            for name in layer.ranking.needs:
                known = STATISTICS[name]
                if known.from_data and not known.from_steps and self._data is None:
                    raise ValueError(
                        f"{criterion} scores by {name} (layer "
                        f"'{layer.path_in_model}'), which come from data, and none was "
                        "given. Give the callback, or qsparse.attach, "
                        "score_data=(x, y)."
                    )
                optimizer = getattr(self._model, "optimizer", None)
                if name == "moments" and not keeps_second_moments(optimizer):
                    raise ValueError(
                        f"{criterion} scores by the second moment that Adam, AdamW, "
                        "Nadam, Lamb and RMSprop keep. Model "
                        f"'{self._model.name}' is trained by "
                        f"{type(optimizer).__name__}: choose another optimizer, or "
                        "another source."
                    )
        asked = {name for layer in layers for name in layer.ranking.needs}
        if self._data and layers and not any(STATISTICS[n].from_data for n in asked):
            criteria = sorted({str(layer.plan.criterion) for layer in layers})
            raise ValueError(
                f"score_data was given, but {', '.join(criteria)} looks at no data. "
                "Leave score_data out, or choose a criterion that does."
            )

    def seen(
        self, layers: Sequence[KernelCompression]
    ) -> Iterator[tuple[KernelCompression, Seen]]:
        """Returns each layer with what its criterion is to see; nothing is changed.

        Args:
            layers: those that are scored now.

        Raises:
            ValueError: if a gradient is not finite or data has no labels.
        """
        for group in self._groups(layers):
            found = self._of_data(group)
            for layer in group:
                seen = found[layer.path_in_model]
                if "moments" in layer.ranking.needs:
                    seen["moments"] = self._moments(layer)
                yield layer, seen

    def _moments(self, layer: KernelCompression) -> np.ndarray:
        value = second_moment(self._model.optimizer, layer.master_variable)
        if value is None or not value.any():
            raise ValueError(
                f"{layer.plan.criterion} scores by the optimizer's second moment, and "
                f"there is none of layer '{layer.path_in_model}' yet. Let pruning "
                "begin after some steps (prune_from)."
            )
        return layer.layout.canonical(value.astype(np.float32))

    def _groups(
        self, layers: Sequence[KernelCompression]
    ) -> Iterator[list[KernelCompression]]:
        """Returns layers whose gradients are held at the same time."""
        group: list[KernelCompression] = []
        held = 0
        for layer in layers:
            size = 0
            if self._data is not None and "batch_gradients" in layer.ranking.needs:
                size = int(np.prod(layer.layout.shape)) * self._data.count()
            if group and held + size > _AT_ONCE:
                yield group
                group, held = [], 0
            group.append(layer)
            held += size
        if group:
            yield group

    def _of_data(self, layers: list[KernelCompression]) -> dict[str, Seen]:
        """Returns what data brings for each layer, by path, in one pass over it."""
        found: dict[str, Seen] = {layer.path_in_model: {} for layer in layers}
        asking = [layer for layer in layers if _of_data(layer)]
        if self._data is None or not asking:
            return found
        switches = asking[0].state().switches
        key = (*(id(layer) for layer in asking), switches)
        if key not in self._passes:
            self._passes[key] = _Pass(self._model, asking)
        sums = [_Collected(layer, self._data.count()) for layer in asking]
        for index, batch in enumerate(self._data):
            gradients, squares = self._passes[key].over(batch)
            for each in sums:
                path = each.layer.path_in_model
                each.add(index, gradients.get(path), squares.get(path))
        for each in sums:
            found[each.layer.path_in_model] = each.seen()
        return found


def _of_data(layer: KernelCompression) -> list[str]:
    return [name for name in layer.ranking.needs if STATISTICS[name].from_data]


def _needs_gradients(layer: KernelCompression) -> bool:
    return any(name != "activations" for name in _of_data(layer))


class _Collected:
    """What batches bring for one layer.

    Args:
        layer: the layer.
        count: how many batches there are.
    """

    def __init__(self, layer: KernelCompression, count: int) -> None:
        self.layer = layer
        self._batches = 0
        layout = layer.layout
        shapes = {
            "batch_gradients": (count, *layout.canonical_shape),
            "activations": (layout.taps, layout.inputs, 1),
        }
        self._values = {
            name: np.zeros(shapes.get(name, layout.canonical_shape), np.float32)
            for name in _of_data(layer)
        }

    def add(self, index: int, gradient: Any, squares: Any) -> None:
        """Adds a batch: a canonical gradient, sums of squared inputs, as asked for."""
        for name, value in self._values.items():
            term = STATISTICS[name].term
            if name == "activations":
                value += squares
            elif term is None:
                value[index] = gradient
            else:
                value += term(None, gradient)

    def seen(self) -> Seen:
        """Returns the statistics."""
        for name, value in self._values.items():
            if not value.any():
                raise ValueError(
                    f"{self.layer.plan.criterion} scores by {name}, but score_data "
                    f"brings none for layer '{self.layer.path_in_model}': they are all "
                    "zero."
                )
        found = dict(self._values)
        if "activations" in found:
            found["activations"] = np.sqrt(found["activations"])
        return found


class _Pass:
    """Takes batches through a model and its loss, and differentiates.

    Args:
        model: the model, compiled if a layer asks for gradients.
        layers: those that ask for something.
    """

    def __init__(self, model: keras.Model, layers: list[KernelCompression]) -> None:
        self._model = model
        self._learned = [layer for layer in layers if _needs_gradients(layer)]
        self._probed = [
            layer for layer in layers if "activations" in layer.ranking.needs
        ]
        kernels = [layer.master_variable for layer in self._learned]
        mine = {id(kernel) for kernel in kernels}
        self._kernels = kernels
        self._others = [v for v in model.variables if id(v) not in mine]
        half = any(layer.compute_dtype == "float16" for _, layer in walk_layers(model))
        self._scale = _LARGEST_SCALE if half else 1.0
        self._function: Callable[..., Any] = with_gradients(self._loss)
        if self._learned and not getattr(model, "compiled", False):
            raise ValueError(
                f"{self._learned[0].plan.criterion} scores by gradients of the loss, "
                f"and model '{model.name}' has none: compile it."
            )

    def over(self, batch: tuple[Any, Any, Any]) -> tuple[Seen, Seen]:
        """Returns what a batch brings, both canonical, by path.

        Args:
            batch: `(x, y, sample_weight)`.

        Returns:
            Gradients of the loss; sums of squares of what weights are multiplied by.

        Raises:
            ValueError: if one of them is not finite, or if the loss needs labels.
        """
        if self._learned and batch[1] is None and getattr(self._model, "loss", None):
            raise ValueError(
                f"{self._learned[0].plan.criterion} scores by gradients of the loss, "
                "which needs labels: give score_data=(x, y)."
            )
        if self._learned:
            build_loss(self._model, batch)
        values = [ops.convert_to_tensor(kernel) for kernel in self._kernels]
        values += [
            ops.zeros(layer.layout.shape_of_one_output, "float32")
            for layer in self._probed
        ]
        others = [ops.convert_to_tensor(variable) for variable in self._others]
        while True:
            scale = ops.convert_to_tensor(self._scale, "float32")
            loss, found = self._function(values, others, batch, scale)
            arrays = [ops.convert_to_numpy(each) for each in found]
            if all(np.isfinite(array).all() for array in arrays):
                break
            if self._scale <= 1.0:
                raise ValueError(
                    "A gradient over score_data is NaN or infinite; the loss is "
                    f"{float(loss)}. Look for NaN in the data, or lower the learning "
                    "rate."
                )
            self._scale /= 2.0
        count = len(self._learned)
        gradients = {
            layer.path_in_model: layer.layout.canonical(
                array.astype(np.float32) / np.float32(self._scale)
            )
            for layer, array in zip(self._learned, arrays[:count], strict=True)
        }
        squares = {
            layer.path_in_model: _one_output(layer, array)
            for layer, array in zip(self._probed, arrays[count:], strict=True)
        }
        return gradients, squares

    def _loss(self, values: Any, others: Any, batch: Any, scale: Any) -> Any:
        """Returns the scaled loss; pure, and traced."""
        kernels = values[: len(self._kernels)]
        zeros = values[len(self._kernels) :]
        mapping = [
            *zip(self._kernels, kernels, strict=True),
            *zip(self._others, others, strict=True),
        ]
        scope = keras.StatelessScope(
            mapping, collect_losses=True, initialize_variables=False
        )
        with scope, ExitStack() as stack:
            probes = [
                stack.enter_context(layer.probed(zero))
                for layer, zero in zip(self._probed, zeros, strict=True)
            ]
            loss = loss_of(self._model, batch, bool(self._learned))
            total = ops.cast(loss, "float32") * scale
            for probe in probes:
                total = total + probe.total
        return total


def _one_output(layer: KernelCompression, squares: np.ndarray) -> np.ndarray:
    """Returns `(taps, inputs, 1)` of an array that has one output."""
    layout = layer.layout
    return squares.transpose(layout.order).reshape(layout.taps, layout.inputs, 1)
