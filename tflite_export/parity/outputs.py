"""Runs a file in LiteRT and compares it with the graph it was made of."""

import gzip
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from qsparse.tflite_export.files.grid import BY_TYPE
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.graph.graph import Graph, node_name
from qsparse.tflite_export.graph.ranges import Range
from qsparse.tflite_export.graph.run import runnable


@dataclass(frozen=True)
class Parity:
    """Difference between LiteRT (XNNPACK) and the fake-quantized graph.

    Attributes:
        samples: batches compared.
        max_lsb: greatest difference, in steps of the output scale. An output that
            stays float counts in 255ths of the range it takes.
        mean_lsb: mean difference, in steps of the output scale, of the output in
            which it is greatest.
        off_by_more: share of output values that differ by more than one step.
    """

    samples: int
    max_lsb: float
    mean_lsb: float
    off_by_more: float


def compare(
    contents: bytes,
    graph: Graph,
    ranges: dict[str, Range],
    batches: list[list[np.ndarray]],
) -> Parity:
    """Runs both on the same quantized inputs.

    Args:
        contents: the .tflite file.
        graph: the fake-quantized graph.
        ranges: ranges of the graph's tensors.
        batches: samples, one list of inputs per batch.

    Raises:
        RuntimeError: LiteRT cannot load or run the file.
    """
    inputs, outputs = ModelFile(contents).signature()
    try:
        with quiet():
            interpreter = Interpreter(model_content=contents)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise RuntimeError(f"LiteRT cannot load the exported file: {error}") from error
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    reference = runnable(graph)
    differences: dict[str, list[np.ndarray]] = {name: [] for name in graph.outputs}
    spread: dict[str, float] = dict.fromkeys(graph.outputs, 0.0)
    for batch in batches:
        fed = []
        for name, array in zip(graph.inputs, batch, strict=True):
            entry = details[inputs[name]]
            stored, seen = on_grid(array, entry, ranges.get(graph.inputs[name]))
            interpreter.set_tensor(entry["index"], stored)
            fed.append(seen)
        interpreter.invoke()
        wanted = reference(*fed)
        for name, tensor in graph.outputs.items():
            entry = details[outputs[name]]
            got = interpreter.get_tensor(entry["index"])
            step = _step(entry, ranges.get(_before_fake_quant(graph, tensor)))
            reference_values = wanted[name].numpy()
            difference = dequantize(got, entry) - reference_values
            differences[name].append(np.abs(difference).ravel() / (step or 1.0))
            if step is None:
                spread[name] = max(spread[name], float(np.ptp(reference_values)))
    by_output = [
        np.concatenate(parts) * (255 / spread[name] if spread[name] else 1.0)
        for name, parts in differences.items()
    ]
    flat = np.concatenate(by_output)
    return Parity(
        len(batches),
        float(flat.max(initial=0.0)),
        max(float(part.mean()) for part in by_output),
        float(np.mean(flat > 1.5)),
    )


def count_macs(file: ModelFile) -> tuple[int, float]:
    """Returns the MACs of one invocation and the share of them done in integers.

    With integer weights LiteRT rounds float activations as they come and multiplies in
    int8. A loop (WHILE) counts as often as it runs, or once where that depends on data.
    """
    total = sum(op.macs for op in file.ops)
    integers = sum(op.int8_macs for op in file.ops)
    return total, integers / total if total else 1.0


def float_ops(file: ModelFile) -> list[str]:
    """Returns the ops with MACs not in integers, and those whose MACs are a guess."""
    found = []
    for entry in file.executed():
        op = entry.op
        if op.own_macs is None:
            why = ["its MACs are unknown and count as none"]
        elif op.own_macs and not op.is_integer:
            why = []
        else:
            continue
        if entry.loop is not None:
            rounds = f"runs {entry.times} times" if entry.counted else "counted once"
            why.append(f"in {entry.loop}, {rounds}")
        name = " ".join([op.name, *(tensor.name for tensor in op.outputs[:1])])
        found.append(f"{name} ({'; '.join(why)})" if why else name)
    return found + [
        f"{op.name} {body.graph.name} (how often it runs depends on data; its "
        f"{body.graph.macs:,} MACs are counted once)"
        for op in (entry.op for entry in file.executed())
        for body in op.bodies
        if not body.counted and body.graph.macs
    ]


def sizes(contents: bytes) -> tuple[int, int]:
    """Returns the size of the file in bytes, raw and compressed with gzip."""
    return len(contents), len(gzip.compress(contents, 9))


def on_grid(
    array: np.ndarray, entry: dict, known: Range | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what LiteRT is fed and the same values for the graph.

    Both sit on the grid of the input, so that no tie is rounded in two ways.

    Args:
        array: one batch of one input.
        entry: LiteRT's details of the tensor it is written to.
        known: range of the input in the graph, if it has one.
    """
    grid = BY_TYPE.get(np.dtype(entry["dtype"]))
    if grid is not None and array.dtype.kind == "f":
        stored = grid.quantized(array, *entry["quantization"])
        return stored, dequantize(stored, entry).astype(array.dtype)
    if known is not None and array.dtype.kind == "f":
        scale = known.step
        array = np.clip(np.rint(array / scale) * scale, known.low, known.high)
        array = array.astype(entry["dtype"])
    return array.astype(entry["dtype"]), array


def dequantize(array: np.ndarray, entry: dict) -> np.ndarray:
    """Returns what a tensor means, in float64.

    Args:
        array: its contents, integers of a grid or float.
        entry: LiteRT's details of it.
    """
    scale, zero = entry["quantization"]
    if array.dtype in BY_TYPE and scale:
        return (array.astype(np.float64) - zero) * scale
    return array.astype(np.float64)


def _step(entry: dict, known: Range | None) -> float | None:
    """Returns the step of an output's scale; None where it never had one."""
    scale = entry["quantization"][0]
    if scale:
        return scale
    return known.step if known is not None else None


def _before_fake_quant(graph: Graph, tensor: str) -> str:
    """Returns the tensor whose range an output has."""
    seen = tensor
    while graph.nodes[node_name(seen)].input:
        node = graph.nodes[node_name(seen)]
        if node.op == "FakeQuantWithMinMaxVars":
            return node.input[0]
        seen = node.input[0]
    return seen
