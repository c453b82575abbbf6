"""The classes that layers have while they are compressed."""

import inspect
import warnings
from typing import Any

from qsparse.engine.state import CHILD
from qsparse.keras_compat import impersonate
from qsparse.planning.targets import NORMS, QUANTIZABLE

_CLASSES: dict[type, type] = {}


def compressed_class(original: Any) -> type:
    """Returns the subclass of a layer class that asks its `Compression` child.

    Args:
        original: the class of a layer that can be compressed.
    """
    if original in _CLASSES:
        return _CLASSES[original]

    _, first, *_ = inspect.signature(original.call).parameters

    class Compressed(original):
        original_class = original

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            # The text is the same for every layer, so that Python shows it once.
            warnings.warn(
                "A copy of a compressed layer, as keras.models.clone_model makes it, "
                "is the plain layer: mask, ranges and recipe stay behind. To have "
                "them, save the model and qsparse.load_model the copy; qsparse.strip "
                "it first if a plain model is meant.",
                stacklevel=2,
            )
            return original.from_config(config)

        def call(self, *args: Any, **kwargs: Any) -> Any:
            child = getattr(self, CHILD)
            child.note_caller()
            if args:
                args = (child.quantize_inputs(args[0]), *args[1:])
            else:
                kwargs[first] = child.quantize_inputs(kwargs[first])
            return child.quantize_outputs(super().call(*args, **kwargs))

    class CompressedNorm(Compressed):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            child = getattr(self, CHILD)
            child.note_caller()
            training = child.trains(training)
            return original.call(self, inputs, training=training, mask=mask)

    class CompressedKernel(Compressed):
        @property
        def kernel(self) -> Any:
            return getattr(self, CHILD).effective_kernel()

        def save_own_variables(self, store: Any) -> None:
            # DepthwiseConv2D saves its variables as they are; every other layer
            # saves `self.kernel`, which is what plain Keras should find.
            values: dict[str, Any] = {}
            super().save_own_variables(values)
            for key, value in values.items():
                master = value is vars(self).get("kernel")
                store[key] = self.kernel if master else value

    compressed = Compressed
    if issubclass(original, QUANTIZABLE):
        compressed = CompressedKernel
    elif issubclass(original, NORMS):
        compressed = CompressedNorm
    cls = impersonate(compressed, original)
    _CLASSES[original] = cls
    return cls
