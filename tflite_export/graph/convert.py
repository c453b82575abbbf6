"""Fake-quantized graph -> LiteRT file of integers."""

import re
import tempfile

import tensorflow as tf

from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph
from qsparse.tflite_export.graph.run import traceable

_LONGEST_MESSAGE = 600  # the rest is a dump of the program
INFERENCE_TYPES = {"int8": tf.int8, "int16": tf.int16, "float32": tf.float32}


def convert(
    graph: Graph, inference_type: str = "int8", quantize_weights: bool = True
) -> bytes:
    """Converts a graph; where its activations are fake-quantized, to integers.

    Args:
        graph: the graph.
        inference_type: type of the float inputs and outputs of the file, one of
            `INFERENCE_TYPES`. What is inside depends on the graph alone.
        quantize_weights: whether weights become int8, with one symmetric scale per
            output channel.

    Returns:
        The contents of the .tflite file.

    Raises:
        ValueError: an input cannot be made of integers.
        RuntimeError: the converter refuses the graph; holds its message.
    """
    if inference_type != "float32":
        _check_inputs(graph, inference_type)
    module = tf.Module()
    # Variables: TensorFlow copies constants of a function at every step on the way.
    module.weights = {
        name: tf.Variable(value, trainable=False, name=name)
        for name, value in graph.large_constants().items()
    }
    module.serve = traceable(graph, weights=module.weights)
    with tempfile.TemporaryDirectory() as folder, quiet() as written:
        try:
            concrete = module.serve.get_concrete_function()
            tf.saved_model.save(
                module, folder, signatures={"serving_default": concrete}
            )
            converter = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=["serving_default"]
            )
            if quantize_weights:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.inference_input_type = INFERENCE_TYPES[inference_type]
            converter.inference_output_type = INFERENCE_TYPES[inference_type]
            return converter.convert()
        except Exception as error:
            raise RuntimeError(_explain(f"{error}\n{written()}")) from error


def _check_inputs(graph: Graph, inference_type: str) -> None:
    """Raises where a float input has no range, because only integers are made of it."""
    users = graph.users()
    for name, node in graph.inputs.items():
        ranged = any(user.op == FAKE_QUANT for user in users[node])
        if graph.dtypes[node].is_floating and users[node] and not ranged:
            readers = sorted({user.op for user in users[node]})
            raise ValueError(
                f"input {name!r} is float, but the model only makes integers of it "
                f"({', '.join(readers)}), so it has no {inference_type} form. Declare "
                f"it as integers, keras.Input(..., dtype='int32'), or pass "
                "inference_type='float32'."
            )


def _explain(message: str) -> str:
    """Returns the part of the converter's message that helps."""
    unsupported = re.search(r"TF Select ops: (.*)", message)
    if unsupported:
        return (
            f"LiteRT has no kernel for {unsupported.group(1)}. Take the layer or "
            "function that uses it out of the exported model and apply it to the "
            "output."
        )
    # The converter dumps its program; the op and its place stand in it.
    place = re.search(r'fused\["(\w+):", "(?:frozen/)?([^"@]+)', message)
    if place:
        return (
            f"the LiteRT converter refuses {place[1]} of {place[2]!r}. Take that "
            "layer out of the exported model and apply it to its input or output, or "
            "try dynamic_range=True or quantize=False, which leave it in float."
        )
    lines = [line for line in message.splitlines() if line.strip()]
    shown = " ".join(lines)[:_LONGEST_MESSAGE]
    return f"the LiteRT converter refused the model: {shown}"
