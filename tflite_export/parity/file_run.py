"""Runs a file on the inputs its model is run on."""

from typing import Any

import numpy as np

from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.parity.outputs import dequantize, on_grid
from qsparse.tflite_export.parity.pairing import Pair, refuse


class FileRun:
    """A loaded file, fed with batches in the form the graph takes them."""

    def __init__(self, interpreter: Any, pair: Pair) -> None:
        """Prepares an interpreter.

        Args:
            interpreter: a LiteRT interpreter of the file, or of a copy of it with
                more outputs.
            pair: the file and its model.

        Raises:
            ValueError: LiteRT cannot prepare it, or its inputs are not the model's.
        """
        try:
            with quiet():
                interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError(f"LiteRT cannot run {pair.file.name}: {error}") from error
        self._interpreter = interpreter
        self._details = {d["index"]: d for d in interpreter.get_tensor_details()}
        self._pair = pair
        self._inputs = _input_tensors(pair)
        _, self._outputs = pair.file.signature()

    def __call__(self, batch: list[np.ndarray]) -> list[np.ndarray]:
        """Runs one batch.

        Args:
            batch: one array per input of the model.

        Returns:
            The same batch on the grid of the file's inputs: what it was really fed.

        Raises:
            ValueError: LiteRT cannot run the file.
        """
        fed = []
        for (name, index), array in zip(self._inputs.items(), batch, strict=True):
            known = self._pair.ranges.get(self._pair.graph.inputs[name])
            stored, seen = on_grid(array, self._details[index], known)
            self._interpreter.set_tensor(index, stored)
            fed.append(seen)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            name = self._pair.file.name
            raise ValueError(f"LiteRT cannot run {name}: {error}") from error
        return fed

    def tensor(self, index: int) -> np.ndarray:
        """Returns the contents of an output, given its index in the file."""
        return self._interpreter.get_tensor(index)

    def outputs(self) -> dict[str, np.ndarray]:
        """Returns the raw outputs by name."""
        return {name: self.tensor(index) for name, index in self._outputs.items()}

    def values(self) -> dict[str, np.ndarray]:
        """Returns what the outputs mean, in float64, by name."""
        return {
            name: dequantize(self.tensor(index), self._details[index])
            for name, index in self._outputs.items()
        }


def _input_tensors(pair: Pair) -> dict[str, int]:
    """Returns input of the graph -> index in the file.

    An input that has no name in the model gets another one when that is loaded; it is
    found through its int8 tensor.
    """
    file, named = pair.file, pair.file.signature()[0]
    quantized_from = {
        op.outputs[0].index: op.inputs[0].index
        for op in file.ops
        if op.name == "QUANTIZE" and op.inputs[0] is not None
    }
    found = {}
    for name, node in pair.graph.inputs.items():
        if name in named:
            found[name] = named[name]
        elif node in pair.stored:
            index = pair.stored[node].index
            found[name] = quantized_from.get(index, index)
        elif len(named) == 1:
            found[name] = next(iter(named.values()))
    if set(found.values()) != set(named.values()):
        raise refuse(
            file,
            f"the inputs of the model are {list(pair.graph.inputs)}, those of the file "
            f"{list(named)}",
        )
    if missing := set(pair.graph.outputs) ^ set(file.signature()[1]):
        raise refuse(file, f"only one of the two has the outputs {sorted(missing)}")
    return found
