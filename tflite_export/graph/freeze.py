"""Keras model -> frozen float graph with a static batch."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2_as_graph,
)

from qsparse.engine.feed import identifiers
from qsparse.engine.kernel import FixedKernel, KernelCompression, compressed_layers
from qsparse.keras_compat import walk_layers
from qsparse.tflite_export.graph.fold import fold_constants
from qsparse.tflite_export.graph.graph import LARGE, Graph, LayerKernel
from qsparse.tflite_export.graph.layer_calls import noted
from qsparse.tflite_export.graph.run import free_copies

_LOOKUPS = (
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)


def freeze(
    model: keras.Model,
    specs: dict[str, tf.TensorSpec],
    structure: Any,
) -> Graph:
    """Traces `model(x, training=False)` and turns every variable into a constant.

    Call it inside `qsparse.engine.fixed.export_mode(model)` for a compressed
    model; the graph then knows which of its constants are the weights of which layer.

    Args:
        model: a built Keras model of any kind.
        specs: input name -> static spec (batch included), in the order of
            `keras.tree.flatten(structure)`.
        structure: what the model's call takes, with any leaf per input.

    Returns:
        The graph; its inputs are named as `specs`, its outputs as the model's.

    Raises:
        ValueError: the model cannot be traced with these shapes, or a weight is NaN
            or infinite.
    """
    _check_weights(model)
    _check_layers(model)

    # Large weights are arguments of the trace: converted to constants by TensorFlow,
    # they would take ten times their memory. Compressed kernels are, too: the argument
    # that a constant was says whose weights it holds.
    fixed_kernels = [
        (layer, layer.fixed)
        for layer in compressed_layers(model)
        if layer.fixed is not None
    ]
    large = [weight for weight in model.weights if math.prod(weight.shape) > LARGE]
    try:
        try:
            concrete, output_names, layers = _trace(
                model, specs, structure, large, fixed_kernels
            )
        except Exception:  # a layer may want the value of a weight at once
            large = []
            concrete, output_names, layers = _trace(
                model, specs, structure, large, fixed_kernels
            )
    except Exception as error:
        shapes = ", ".join(f"{n}: {tuple(s.shape)}" for n, s in specs.items())
        raise ValueError(
            f"model {model.name!r} cannot be traced with inputs {shapes}: "
            f"{str(error).strip().splitlines()[0]}. Give `representative_data` of "
            "the shape and structure the model's call takes."
        ) from error
    # Loops stay one node each: lowered, they would make the graph cyclic.
    frozen, graph_def = convert_variables_to_constants_v2_as_graph(
        concrete, lower_control_flow=False
    )
    outputs = dict(
        zip(output_names, (tensor.name for tensor in frozen.outputs), strict=True)
    )
    placeholders = [tensor.op.name for tensor in frozen.inputs]
    inputs = dict(zip(specs, placeholders, strict=False))
    values = [weight.numpy() for weight in large]
    values += [kernel.values for _, kernel in fixed_kernels]
    names = placeholders[len(specs) :]
    weights = dict(zip(names, values, strict=True))
    kernels = {
        name: LayerKernel(layer.path_in_model, kernel.integers, kernel.mask)
        for name, (layer, kernel) in zip(
            names[len(large) :], fixed_kernels, strict=True
        )
    }
    graph = Graph(graph_def, inputs, outputs, weights, kernels, layers)
    fold_constants(graph)
    del concrete, frozen, graph_def
    free_copies(graph)
    for tensor, dtype in graph.dtypes.items():
        if dtype in (tf.float16, tf.bfloat16):
            raise ValueError(
                f"model {model.name!r} computes {tensor!r} in {dtype.name} whatever "
                "its dtype policy is; int8 export starts from float32. Take the "
                "explicit cast out of the model."
            )
    return graph


def _trace(
    model: keras.Model,
    specs: dict[str, tf.TensorSpec],
    structure: Any,
    weights: list[keras.Variable],
    kernels: list[tuple[KernelCompression, FixedKernel]],
) -> tuple[Any, list[str], dict[str, str]]:
    """Returns the concrete function of a model's call, and what its parts are.

    Its arguments are the inputs, then the weights, then the kernels given here.

    Returns:
        The function, the names of its outputs, and op -> path of its layer.
    """
    signature = [
        *specs.values(),
        *(tf.TensorSpec(weight.shape, weight.dtype) for weight in weights),
        *(tf.TensorSpec(kernel.values.shape, tf.float32) for _, kernel in kernels),
    ]
    first_kernel = len(specs) + len(weights)

    names: list[str] = []

    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        inputs = keras.tree.pack_sequence_as(structure, list(tensors[: len(specs)]))
        values = zip(weights, tensors[len(specs) : first_kernel], strict=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(keras.StatelessScope(state_mapping=values))
            for (layer, _), tensor in zip(kernels, tensors[first_kernel:], strict=True):
                stack.enter_context(layer.standing_in(tensor))
            outputs = model(inputs, training=False)
        named = name_outputs(model, outputs)
        names[:] = named
        return list(named.values())

    function = tf.function(call, input_signature=signature, autograph=False)
    # Keras compiles grouped convolutions on their own; run eagerly, the nested
    # function becomes part of this trace instead of a call nothing can look into.
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with _in_float32(model), noted(model) as layers:
            return function.get_concrete_function(), names, layers
    finally:
        tf.config.run_functions_eagerly(eager)


def name_outputs(model: keras.Model, outputs: Any) -> dict[str, tf.Tensor]:
    """Returns the outputs of a call as a flat dict with usable signature names.

    They stand in the order of `keras.tree.flatten`, which is that of `model.outputs`.
    A single output is called "output", the values of a dict as their keys; other
    outputs of a functional model as their layers, else "output_0" and so on.

    Args:
        model: the model that was called.
        outputs: what it returned: a tensor or any nested structure of them.
    """
    flat = keras.tree.flatten(outputs)
    if isinstance(outputs, dict) and not any(
        keras.tree.is_nested(value) for value in outputs.values()
    ):
        names = keras.tree.flatten({key: str(key) for key in outputs})
    elif len(flat) == 1:
        names = ["output"]
    else:
        names = getattr(model, "output_names", None) or []
        if len(names) != len(flat):
            names = [f"output_{index}" for index in range(len(flat))]
    return dict(zip(identifiers(names), flat, strict=True))


@contextlib.contextmanager
def _in_float32(model: keras.Model) -> Iterator[None]:
    """Makes a model trained in mixed precision compute in float32 meanwhile.

    Its weights are float32 already, and int8 takes the place of the short floats.
    """
    changed = [
        (layer, layer.dtype_policy)
        for layer in [model, *(layer for _, layer in walk_layers(model))]
        if layer.compute_dtype in ("float16", "bfloat16")
    ]
    for layer, _ in changed:
        layer.dtype_policy = "float32"
    try:
        yield
    finally:
        for layer, policy in changed:
            layer.dtype_policy = policy


def _check_layers(model: keras.Model) -> None:
    for path, layer in walk_layers(model):
        if isinstance(layer, _LOOKUPS):
            raise ValueError(
                f"layer {path!r} ({type(layer).__name__}) looks its input up in a "
                "table, which LiteRT cannot. Look up outside of the file: export the "
                "model that begins behind this layer, and give it the indices."
            )


def _check_weights(model: keras.Model) -> None:
    for variable in model.weights:
        value = variable.numpy()
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ValueError(
                f"weight {variable.path!r} of model {model.name!r} holds NaN or "
                "infinite values. Training diverged; restore a good checkpoint "
                "before exporting."
            )
