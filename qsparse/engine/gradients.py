"""Gradients: those of a pure function, on TensorFlow and on JAX.

Keras has no gradients of its own; this is the one file of the core that knows backends.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import tree


def with_gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a compiled function that also differentiates.

    Args:
        function: takes a list of float tensors, one of any tensors, a structure of
            arrays with a row for each sample, or None, and a scalar; returns a scalar.
            It changes no variable.

    Returns:
        A function of the same arguments that returns the scalar and its gradients with
        respect to the first list, zeros where it does not hang on a tensor.

    Raises:
        ValueError: on a backend that is neither TensorFlow nor JAX.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(jax.value_and_grad(function))
    if backend != "tensorflow":
        raise ValueError(
            f"score_data needs TensorFlow or JAX. Received: backend {backend!r}"
        )
    return _on_tensorflow(function)


def _on_tensorflow(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    @tf.function
    def both(values: Any, others: Any, batch: Any, scale: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            scalar = function(values, others, batch, scale)
        gradients = tape.gradient(scalar, values, unconnected_gradients="zero")
        return scalar, [tf.convert_to_tensor(each) for each in gradients]

    def any_rows(array: Any) -> Any:
        if array is None:
            return None
        return tf.TensorSpec([None, *array.shape[1:]], array.dtype)

    traced: dict[str, Any] = {}

    def call(values: Any, others: Any, batch: Any, scale: Any) -> Any:
        # A last batch with fewer rows needs no trace of its own.
        specs = tree.map_structure(any_rows, batch)
        key = str(specs)
        if key not in traced:
            traced[key] = both.get_concrete_function(values, others, specs, scale)
        tensors = tree.map_structure(
            lambda array: None if array is None else tf.convert_to_tensor(array), batch
        )
        return traced[key](values, others, tensors, scale)

    return call
