"""The runtimes a user may load a file in, each behind one function."""

from collections.abc import Callable

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert.compiled_model import CompiledModel

from qsparse.tflite_export.files.grid import BY_TYPE
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.runtime.interpreter import Interpreter

# Tensor index -> value, in the type of the file.
Sample = dict[int, np.ndarray]
Outputs = list[np.ndarray]


def stored_samples(file: ModelFile, data: dict[str, np.ndarray]) -> list[Sample]:
    """Returns every sample as the file's inputs take it, quantized where they are.

    Args:
        file: a file whose batch is 1.
        data: input name of its signature -> values, the samples first. A file with
            one input takes a single entry of any name.
    """
    places = file.signature()[0]
    values: Sample = {}
    for name, value in data.items():
        index = places[name] if len(places) > 1 else next(iter(places.values()))
        tensor = file.tensors[index]
        if tensor.dtype in (np.int8, np.int16) and tensor.scales.size:
            grid = BY_TYPE[np.dtype(tensor.dtype)]
            value = grid.quantized(value, tensor.scales[0], tensor.zero_points[0])
        values[index] = value.astype(tensor.dtype)
    count = min(len(value) for value in values.values())
    return [
        {i: v[k].reshape(file.tensors[i].shape) for i, v in values.items()}
        for k in range(count)
    ]


def run_litert(content: bytes, samples: list[Sample]) -> list[Outputs]:
    """Stock LiteRT: XNNPACK and, for what it does not take, built-in kernels."""
    return _interpret(litert.Interpreter(model_content=content), samples)


def run_builtin(content: bytes, samples: list[Sample]) -> list[Outputs]:
    """LiteRT without XNNPACK: its own optimized kernels alone."""
    resolver = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = litert.Interpreter(
        model_content=content, experimental_op_resolver_type=resolver
    )
    return _interpret(interpreter, samples)


def run_ours(content: bytes, samples: list[Sample]) -> list[Outputs]:
    """LiteRT with our delegate."""
    return _interpret(Interpreter(content), samples)


def run_tensorflow(content: bytes, samples: list[Sample]) -> list[Outputs]:
    """The interpreter inside TensorFlow, an older LiteRT."""
    import tensorflow as tf

    return _interpret(tf.lite.Interpreter(model_content=content), samples)


def run_compiled_model(content: bytes, samples: list[Sample]) -> list[Outputs]:
    """LiteRT's newer interface, on the CPU."""
    file = ModelFile(content)
    names, outputs = file.signature()
    model = CompiledModel.from_buffer(content)
    (key,) = model.get_signature_list()
    places = {name: model.create_input_buffer_by_name(key, name) for name in names}
    results = {name: model.create_output_buffer_by_name(key, name) for name in outputs}
    found = []
    for sample in samples:
        for name, index in names.items():
            places[name].write(np.ascontiguousarray(sample[index]).reshape(-1))
        model.run_by_name(key, places, results)
        # In the order of the interpreter's outputs.
        by_index = {
            index: results[name]
            .read(int(np.prod(file.tensors[index].shape)), file.tensors[index].dtype)
            .reshape(file.tensors[index].shape)
            for name, index in outputs.items()
        }
        found.append([by_index[tensor.index] for tensor in file.outputs])
    return found


RUNTIMES: dict[str, Callable[[bytes, list[Sample]], list[Outputs]]] = {
    "litert": run_litert,
    "tensorflow": run_tensorflow,
    "compiled_model": run_compiled_model,
    "builtin": run_builtin,
    "ours": run_ours,
}


def run_everywhere(
    content: bytes, samples: list[Sample]
) -> dict[str, list[Outputs] | str]:
    """Runs a file in every runtime.

    Args:
        content: the .tflite file.
        samples: what `stored_samples` returns.

    Returns:
        Name of the runtime -> outputs per sample, or the error it gave.
    """
    found: dict[str, list[Outputs] | str] = {}
    for name, run in RUNTIMES.items():
        try:
            with quiet():
                found[name] = run(content, samples)
        except (RuntimeError, ValueError) as error:
            found[name] = str(error)
    return found


def _interpret(interpreter: litert.Interpreter, samples: list[Sample]) -> list[Outputs]:
    interpreter.allocate_tensors()
    found = []
    for sample in samples:
        for index, value in sample.items():
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        found.append(
            [
                interpreter.get_tensor(entry["index"])
                for entry in interpreter.get_output_details()
            ]
        )
    return found
