"""Which kernel takes a layer: the one with the fewest instructions, as counted.

`make bench-arm` shows what these decisions come from.
"""

import numpy as np
import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import emulator, guest_runs

# Rows, pattern, density and, for each ISA, what takes the layer.
LAYERS = [
    (64, "dense", 1.0, ("block_4x4", "block_4x4", "block_4x4")),
    (64, "4x4", 0.5, ("block_4x4", "block_4x4", "block_4x4")),
    (64, "4x4", 0.2, ("block_4x4", "block_4x4", "block_4x4")),
    (64, "2:4", 1.0, ("fine", "fine", "block_4x4")),
    (64, "2:8", 1.0, ("fine", "fine", "fine")),
    (64, "4:16", 1.0, ("fine", "fine", "fine")),
    (64, "8:64", 1.0, ("fine", "fine", "fine")),
    (64, "unstructured", 0.5, ("fine", "block_4x4", "block_4x4")),
    (64, "unstructured", 0.2, ("fine", "fine", "fine")),
    (64, "unstructured", 0.1, ("fine", "fine", "fine")),
    (1, "dense", 1.0, ("rows_16x4", "rows_16x4", "rows_16x4")),
    (1, "16x4", 0.2, ("rows_16x4", "rows_16x4", "rows_16x4")),
    (1, "4:16", 1.0, ("fine", "fine", "fine")),
]
ISAS = ("neon", "dotprod", "i8mm")


def name_of(rows, pattern, density):
    return f"{rows}_{pattern.replace(':', '_')}_{density}"


@pytest.fixture(scope="session")
def layers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choice")
    for rows, pattern, density, _ in LAYERS:
        weights = sparse_weights((128, 256), pattern, density)
        model = one_op_models.fully_connected_model(weights, rows)
        path = folder / f"{name_of(rows, pattern, density)}.tflite"
        path.write_bytes(model.content)
        np.save(path.with_suffix(".npy"), model.input())
    return folder


@pytest.mark.parametrize("cpu", emulator.CPUS)
def test_choice(cpu, machine, library, layers):
    found = guest_runs.run(machine, cpu, library, layers, ("auto",))
    names = [name_of(*layer[:3]) for layer in LAYERS]
    guest_runs.assert_exact(found, names, cpu, ("auto",), least=lambda name: 9)
    for name, (*_, expected) in zip(names, LAYERS, strict=True):
        for each in found[name]["runs"]:
            assert each["kernels"] == [expected[ISAS.index(each["isa"])]], (name, each)
