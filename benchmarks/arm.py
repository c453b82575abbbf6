"""Instructions of every NEON kernel, dense and sparse, and of XNNPACK's.

There is no ARM machine to time on, so `bench/arm.json` says what the emulator counts
and what is predicted from it: a ratio of instructions is one of time only where the
processor gets through both at the same rate.
"""

import argparse
import json
import pathlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights
from tests.arm import emulator, trace

Shape: TypeAlias = tuple[int, int, int, int]

# What a layer does, by the mangled names of the functions. The row kernels write
# their results where they belong.
STAGES = {
    "pack": re.compile(rb"4PackERK|8PackRowsERK"),
    "compute": re.compile(rb"7ComputeERK|7ComputeI|11ComputeRowsI"),
    "unpack": re.compile(rb"6UnpackERK"),
}
ISAS = {"neon": "cortex-a53", "dotprod": "cortex-a76", "i8mm": "cortex-a710"}
# Rows (or the side of the image), channels, outputs, kernel (0: fully connected).
SHAPES = ((64, 256, 128, 0), (16, 768, 64, 0), (14, 64, 64, 3))
PATTERNS = (
    *(("block_4x4", "4x4", density) for density in (0.5, 0.25, 0.2, 0.1)),
    *(("fine", pattern, 1.0) for pattern in ("2:4", "2:8", "4:16", "8:64")),
    *(("fine", "unstructured", density) for density in (0.2, 0.1)),
)
# Where a plane of positions would be all but empty.
FEW_SHAPES = ((1, 768, 256, 0), (3, 768, 256, 0))
FEW_PATTERNS = (
    ("block_4x4", "4x4", 0.25),
    ("block_4x4", "16x4", 0.2),
    ("rows_16x4", "16x4", 0.2),
    *(("fine", pattern, 1.0) for pattern in ("2:8", "8:64")),
)
LAYERS = (
    *((shape, PATTERNS) for shape in SHAPES),
    *((shape, FEW_PATTERNS) for shape in FEW_SHAPES),
)


def weights_of(shape: Shape, pattern: str, density: float = 1.0) -> np.ndarray:
    """Outputs first, as the layer has them."""
    _, channels, outputs, side = shape
    taps = (side, side) if side else ()
    return sparse_weights((outputs, *taps, channels), pattern, density)


def macs_of(shape: Shape) -> int:
    """Of the dense layer, borders included."""
    size, channels, outputs, side = shape
    positions = (size * side) ** 2 if side else size
    return positions * channels * outputs


def count_ours(
    machine: Any,
    program: pathlib.Path,
    isa: str,
    shape: Shape,
    kernel: str,
    weights: np.ndarray,
    dense: bool,
) -> tuple[dict[str, int], str]:
    """Instructions by stage, and the kernel the cost model would take."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(weights.tobytes())
        file.flush()
        counts, output = trace.count(
            (
                *(machine.qemu, "-cpu", ISAS[isa], "-L", machine.system, *trace.FLAGS),
                *(program, isa, kernel, file.name, *shape, int(dense)),
            )
        )
    *used, chosen = output
    if used != [isa, kernel]:
        raise RuntimeError(f"{used} ran instead of {isa} {kernel}")
    stages = {
        stage: sum(n for function, n in counts[""].items() if part.search(function))
        for stage, part in STAGES.items()
    }
    writes_itself = kernel != "block_4x4"
    if not all(
        stages[stage] or stage == "unpack" and writes_itself for stage in stages
    ):
        raise RuntimeError(f"stages not found: {stages}")
    return stages, chosen


def count_xnnpack(machine: Any, cpu: str) -> dict[Shape, int]:
    """Instructions of one invocation of every shape's dense layer."""
    with tempfile.TemporaryDirectory() as folder:
        paths: list[pathlib.Path] = []
        for shape, _ in LAYERS:
            size, _, _, side = shape
            weights = weights_of(shape, "dense")
            model = (
                one_op_models.conv2d_model(weights, size, size)
                if side
                else one_op_models.fully_connected_model(weights, size)
            )
            paths.append(pathlib.Path(folder) / f"{len(paths)}.tflite")
            paths[-1].write_bytes(model.content)
        # Libraries lie at the same place in every run.
        python = machine.python(cpu, emulator.HERE / "guest_xnnpack.py", *paths)
        (place,) = trace.count(("setarch", "-R", *python))[1]
        begin, end = (int(part, 16) for part in place.split("-"))
        dfilter = ("-dfilter", f"{begin:#x}..{end - 1:#x}")
        counts, output = trace.count(
            ("setarch", "-R", python[0], *trace.FLAGS, *dfilter, *python[1:])
        )
        if output != [place]:
            raise RuntimeError("LiteRT moved between two runs")
        return {
            shape: sum(counts[path.stem].values())
            for (shape, _), path in zip(LAYERS, paths, strict=True)
        }


def rows_of(
    machine: Any,
    program: pathlib.Path,
    isa: str,
    shape: Shape,
    patterns: Iterable[tuple[str, str, float]],
    xnnpack: int,
) -> Iterator[dict[str, Any]]:
    """The dense row and the sparse ones of one shape."""
    size, channels, outputs, side = shape
    macs = macs_of(shape)
    for kernel, pattern, density in (("block_4x4", "dense", 1.0), *patterns):
        weights = weights_of(shape, pattern, density)
        is_dense = pattern == "dense"
        stages, chosen = count_ours(
            machine, program, isa, shape, kernel, weights, is_dense
        )
        whole = sum(stages.values())
        kept = np.count_nonzero(weights) / weights.size
        if is_dense:
            dense_compute, dense_whole = stages["compute"], whole
        yield {
            "op": "conv" if side else "fc",
            "shape": f"{size}x{size}x{channels}x{outputs} {side}x{side}"
            if side
            else f"{size}x{channels}x{outputs}",
            "isa": isa,
            "kernel": kernel,
            "chosen": kernel == chosen,
            "pattern": pattern,
            "sparsity": round(1 - kept, 4),
            "instructions_per_mac": stages["compute"] / (macs * kept),
            "xnnpack_instructions_per_mac": xnnpack / macs,
            "pack_share": stages["pack"] / whole,
            "unpack_share": stages["unpack"] / whole,
            "compute_ratio_vs_own_dense": dense_compute / stages["compute"],
            "instructions_ratio_vs_own_dense": dense_whole / whole,
            "instructions_ratio_vs_xnnpack": xnnpack / whole,
            "predicted": True,
        }


def main() -> None:
    """Counts all of it and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default="bench/arm.json")
    options = parser.parse_args()
    machine = emulator.prepare()
    program = emulator.build("run_layer") / "count" / "run_layer"
    print("Instructions, not times. Ratios are of whole layers, and predictions;")
    print("the cost model would take another kernel where the name is in brackets.")
    print(
        f"{'layer':16} {'isa':8}{'kernel':12}{'pattern':13}{'sparsity':>8}"
        f"{'insn/MAC':>10}{'to own dense':>14}{'to XNNPACK':>12}"
    )
    rows = []
    for isa, cpu in ISAS.items():
        xnnpack = count_xnnpack(machine, cpu)
        for shape, patterns in LAYERS:
            for row in rows_of(machine, program, isa, shape, patterns, xnnpack[shape]):
                rows.append(row)
                name = row["kernel"] if row["chosen"] else f"({row['kernel']})"
                print(
                    f"{row['shape']:16} {isa:8}{name:12}{row['pattern']:13}"
                    f"{row['sparsity']:8.1%}{row['instructions_per_mac']:10.4f}"
                    f"{row['instructions_ratio_vs_own_dense']:13.2f}x"
                    f"{row['instructions_ratio_vs_xnnpack']:11.2f}x",
                    flush=True,
                )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
