"""The compressor: attaches a recipe to a model in place, and strips it.

Nothing is cloned. The class of a layer is swapped for a subclass of it that
returns the effective weight as its `kernel` and fake-quantizes its inputs. This
works for Sequential, functional, nested, subclassed and keras-hub models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from qsparse.keras_compat import (
    add_child,
    drop_compiled_functions,
    impersonate,
    remove_child,
    walk_layers,
)
from qsparse.kernel import KernelCompression, compressed_layers
from qsparse.layouts import kernel_layout
from qsparse.observers import InputQuantizer
from qsparse.recipe import Recipe
from qsparse.report import Coverage, coverage
from qsparse.state import ModelState, state_of
from qsparse.targets import QUANTIZABLE, Target, find_targets

__all__ = [
    "attach",
    "compressed_layers",
    "export_mode",
    "state_of",
    "strip",
]


def attach(model: keras.Model, recipe: Recipe) -> Coverage:
    """Attach `recipe` to a built model, in place.

    Args:
        model: any built Keras model.
        recipe: what to do to it.

    Returns:
        The coverage report: what is compressed, what is not, and why.

    Raises:
        ValueError: if the model is not built, already carries another recipe,
            has no layer that the recipe can compress, or (`strict=True`) has a
            layer that the pattern does not fit. The model is left untouched.
    """
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' is not built, so its layers have no weights to "
            "compress. Call it on a batch of data, or give it an Input, first."
        )
    state = state_of(model)
    if state is not None:
        if state.recipe == recipe:
            return coverage(model)
        raise ValueError(
            f"Model '{model.name}' already carries another recipe. Call "
            "qsparse.strip(model) first to bake it in, then attach the new one."
        )
    targets = find_targets(model, recipe)
    state = ModelState(model, recipe)
    for target in targets:
        _compress(target, state)
    add_child(model, "compression_state", state)
    drop_compiled_functions(model)
    return coverage(model)


def strip(model: keras.Model) -> keras.Model:
    """Bake the effective weights in and give the plain Keras layers back.

    Args:
        model: a model that carries a recipe; one that does not is left alone.

    Returns:
        The same model, with plain Keras classes; it saves and loads without
        qsparse, and its predictions are those of the pruned, quantized weights
        with float activations.
    """
    if state_of(model) is None:
        return model
    for _, layer in walk_layers(model):
        compression = getattr(layer, "compression", None)
        if isinstance(compression, KernelCompression):
            compression.bake()
        if isinstance(compression, KernelCompression | InputQuantizer):
            layer.__class__ = type(layer).original_class
            remove_child(layer, "compression")
    remove_child(model, "compression_state")
    drop_compiled_functions(model)
    return model


@contextmanager
def export_mode(model: keras.Model) -> Iterator[None]:
    """Trace constants: baked int8-grid kernels and fixed activation ranges.

    Inside, every compressed kernel is a float constant on its int8 grid, and
    every trained range is one fake-quantization op with constant limits.
    """
    children = [getattr(layer, "compression", None) for _, layer in walk_layers(model)]
    frozen = [c for c in children if isinstance(c, KernelCompression | InputQuantizer)]
    for child in frozen:
        child.freeze()
    try:
        yield
    finally:
        for child in frozen:
            child.thaw()


def _compress(target: Target, state: ModelState) -> None:
    path, layer, pattern = target
    child: keras.layers.Layer
    if isinstance(layer, QUANTIZABLE):
        layout: Any = kernel_layout(layer)
        child = KernelCompression(layer, path, layout, pattern, state)
    else:
        child = InputQuantizer(_input_count(layer), state)
    add_child(layer, "compression", child)
    layer.__class__ = _compressed_class(type(layer))


def _input_count(layer: layers.Layer) -> int:
    merges = isinstance(layer, layers.Add | layers.Concatenate)
    return len(layer.get_build_config()["input_shape"]) if merges else 1


_CLASSES: dict[type, type] = {}


def _compressed_class(original: Any) -> type:
    """Return the subclass of a layer class that asks its `compression` child.

    An instance without that child, as `from_config` makes, is the plain layer.
    """
    if original in _CLASSES:
        return _CLASSES[original]

    class Compressed(original):
        original_class = original

        def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            child = getattr(self, "compression", None)
            if child is not None:
                inputs = child.quantize_inputs(inputs)
            return super().call(inputs, *args, **kwargs)

    class CompressedKernel(Compressed):
        @property
        def kernel(self) -> Any:
            child = getattr(self, "compression", None)
            if child is not None:
                return child.effective_kernel()
            return super().kernel if "_kernel" in vars(self) else vars(self)["kernel"]

        def save_own_variables(self, store: Any) -> None:
            # DepthwiseConv2D saves its variables as they are; every other layer
            # saves `self.kernel`, which is what plain Keras should find.
            values: dict[str, Any] = {}
            super().save_own_variables(values)
            for key, value in values.items():
                master = value is vars(self).get("kernel")
                store[key] = self.kernel if master else value

    has_kernel = issubclass(original, QUANTIZABLE)
    cls = impersonate(CompressedKernel if has_kernel else Compressed, original)
    _CLASSES[original] = cls
    return cls
