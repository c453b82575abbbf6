"""The compressor: attaches a recipe to a model in place, and strips it.

Nothing is cloned. The class of a layer is swapped for a subclass of it that
returns the effective weight as its `kernel` and fake-quantizes its inputs. This
works for Sequential, functional, nested, subclassed and keras-hub models.
"""

import inspect
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
    variable_scope,
    walk_layers,
)
from qsparse.kernel import KernelCompression, compressed_layers
from qsparse.layouts import kernel_layout
from qsparse.norms import FrozenStatistics
from qsparse.observers import InputQuantizer
from qsparse.recipe import Recipe
from qsparse.report import Coverage, coverage
from qsparse.state import (
    CHILD,
    Compression,
    ModelState,
    compression_of,
    compressions,
    state_of,
)
from qsparse.targets import NORMS, QUANTIZABLE, Target, find_targets

__all__ = ["attach", "compressed_layers", "export_mode", "state_of", "strip"]


def attach(model: keras.Model, recipe: Recipe) -> Coverage:
    """Attach `recipe` to a built model, in place.

    Attaching the recipe that the model already carries changes nothing; one that
    has not begun may be replaced. A model that contains this one, and was called
    before, has to be compiled anew.

    Args:
        model: any built Keras model.
        recipe: what to do to it.

    Returns:
        The coverage report: what is compressed, what is not, and why.

    Raises:
        ValueError: if the model is not built, already carries another recipe,
            shares layers with a model that does, has no layer that the recipe
            can compress, or (`strict=True`) has a layer that the pattern does
            not fit. The model is left untouched.
    """
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' is not built, so its layers have no weights to "
            "compress. Call it on a batch of data, or give it an Input, first."
        )
    targets = find_targets(model, recipe)
    if _carries(model, recipe, targets):
        return coverage(model)
    with variable_scope(model):
        state = ModelState(recipe)
        children = [_compression(target, state) for target in targets]
    for target, child in zip(targets, children, strict=True):
        add_child(target.layer, CHILD, child)
        target.layer.__class__ = _compressed_class(type(target.layer))
    state.members.update(children)
    # Under a layer, `model.weights` shows the state, whatever kind of model it is.
    add_child(children[0], "shared", state)
    drop_compiled_functions(model)
    return coverage(model)


def strip(model: keras.Model) -> keras.Model:
    """Bake the effective weights in and give the plain Keras layers back.

    Args:
        model: a model that carries a recipe; one that does not is left alone.

    Returns:
        The same model, with plain Keras classes; it saves and loads without
        qsparse, and its predictions are those of the pruned, quantized weights
        with float activations. Its zeros are ordinary weights from here on.

    Raises:
        ValueError: if the recipe was attached to a model that this is a part of.
    """
    _check_whole(model)
    for _, layer in walk_layers(model):
        child = compression_of(layer)
        if child is not None:
            child.detach()
            layer.__class__ = type(layer).original_class
            remove_child(layer, CHILD)
    drop_compiled_functions(model)
    return model


@contextmanager
def export_mode(model: keras.Model, on_grid: bool = True) -> Iterator[None]:
    """Trace constants: pruned, baked kernels and fixed activation ranges.

    Inside, every compressed kernel is a float constant on its int8 grid, and
    every trained range is one fake-quantization op with constant limits.

    Args:
        model: a compressed model, or a plain one, which stays as it is.
        on_grid: False leaves kernels that training did not quantize in float.
    """
    children = compressions(model)
    try:
        for child in children:
            child.freeze(on_grid)
        yield
    finally:
        for child in children:
            child.thaw()


def _carries(model: keras.Model, recipe: Recipe, targets: list[Target]) -> bool:
    """Return whether the model carries this recipe; make way for it if it can."""
    state = state_of(model)
    if state is None:
        return False
    _check_whole(model)
    missing = [t.path for t in targets if compression_of(t.layer) is None]
    if state.recipe == recipe and not missing:
        return True
    if not state.begun:
        strip(model)
        return False
    raise ValueError(
        f"Model '{model.name}', or a part of it, already carries another recipe. "
        "qsparse.strip(model) bakes it in; zeros are ordinary weights then, which a "
        "recipe that does not prune lets grow back."
    )


def _check_whole(model: keras.Model) -> None:
    """Raise if layers of this model share their recipe with layers outside it."""
    found = set(compressions(model))
    outside = {c for member in found for c in member.state().members} - found
    if outside or len({id(c.state()) for c in found}) > 1:
        raise ValueError(
            f"Layers of model '{model.name}' were compressed as part of another "
            "model. qsparse.strip that model first."
        )


def _compression(target: Target, state: ModelState) -> Compression:
    path, layer, pattern, leaves = target
    if isinstance(layer, QUANTIZABLE):
        layout: Any = kernel_layout(layer)
        return KernelCompression(layer, path, layout, pattern, leaves, state)
    if isinstance(layer, NORMS):
        return FrozenStatistics(state)
    return InputQuantizer(_input_count(layer), state, leaves)


def _input_count(layer: layers.Layer) -> int:
    merges = isinstance(layer, layers.Add | layers.Concatenate)
    return len(layer.get_build_config()["input_shape"]) if merges else 1


_CLASSES: dict[type, type] = {}


def _compressed_class(original: Any) -> type:
    """Return the subclass of a layer class that asks its `Compression` child."""
    if original in _CLASSES:
        return _CLASSES[original]

    _, first, *_ = inspect.signature(original.call).parameters

    class Compressed(original):
        original_class = original

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            # A copy made from a configuration is the plain layer.
            return original.from_config(config)

        def call(self, *args: Any, **kwargs: Any) -> Any:
            child = getattr(self, CHILD)
            if args:
                args = (child.quantize_inputs(args[0]), *args[1:])
            else:
                kwargs[first] = child.quantize_inputs(kwargs[first])
            return child.quantize_outputs(super().call(*args, **kwargs))

    class CompressedNorm(Compressed):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            training = training and not getattr(self, CHILD).active
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
