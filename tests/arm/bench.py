"""Instructions of every NEON kernel, dense and sparse, and of XNNPACK's.

There is no ARM machine to time on, so `bench/arm.json` says what the emulator counts
and what is predicted from it: a ratio of instructions is one of time only where the
processor gets through both at the same rate.
"""

import argparse
import json
import pathlib
import tempfile

from .. import one_op_models
from . import emulator, trace

# What a layer does, by a part of the functions' mangled names.
STAGES = {"Pack": b"4PackERK", "Compute": b"7ComputeERK", "Unpack": b"6UnpackERK"}
ISAS = {"neon": "cortex-a53", "dotprod": "cortex-a76", "i8mm": "cortex-a710"}
KEPT = (100, 50, 25, 20, 10)
# Rows (or the side of the image), channels, outputs, kernel (0: fully connected).
SHAPES = ((64, 256, 128, 0), (16, 768, 64, 0), (14, 64, 64, 3))


def count_ours(machine, program, isa, shape, kept):
    """Instructions by stage, the kernel's name and the MACs of the dense layer."""
    dense = int(kept == 100)
    counts, output = trace.count(
        (
            *(machine.qemu, "-cpu", ISAS[isa], "-L", machine.system, *trace.FLAGS),
            *(program, isa, *shape, kept, dense),
        )
    )
    used, name, macs = (word.decode() for word in output)
    if used != isa:
        raise RuntimeError(f"{used} ran instead of {isa}")
    stages = {
        stage: sum(n for function, n in counts.items() if part in function)
        for stage, part in STAGES.items()
    }
    if not all(stages.values()):
        raise RuntimeError(f"stages not found: {stages}")
    return stages, name, int(macs)


def count_xnnpack(machine, cpu, shape):
    """Instructions of one invocation of the dense layer."""
    size, channels, outputs, kernel = shape
    if kernel:
        taps = (kernel, kernel)
        weights = one_op_models.sparse_weights((outputs, *taps, channels), "dense")
        model = one_op_models.conv2d_model(weights, size, size)
    else:
        weights = one_op_models.sparse_weights((outputs, channels), "dense")
        model = one_op_models.fully_connected_model(weights, size)
    script = emulator.HERE / "guest_xnnpack.py"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.tflite"
        path.write_bytes(model.content)

        def run(times, *flags):
            # Libraries lie at the same place in every run.
            python = machine.python(cpu, script, path, times)
            return trace.count(("setarch", "-R", python[0], *flags, *python[1:]))

        counts, totals = (1, 3), []
        for times in counts:
            place = run(times)[1][0].decode()
            begin, end = (int(part, 16) for part in place.split("-"))
            dfilter = ("-dfilter", f"{begin:#x}..{end - 1:#x}")
            traced, output = run(times, *trace.FLAGS, *dfilter)
            if output[0].decode() != place:
                raise RuntimeError("LiteRT moved between two runs")
            totals.append(sum(traced.values()))
    return (totals[1] - totals[0]) / (counts[1] - counts[0])


def rows_of(machine, program, isa, shape):
    """The dense row and the sparse ones of one kernel and shape."""
    size, channels, outputs, kernel = shape
    xnnpack = count_xnnpack(machine, ISAS[isa], shape)
    rows = []
    for kept in KEPT:
        stages, name, macs = count_ours(machine, program, isa, shape, kept)
        whole = sum(stages.values())
        if kept == 100:
            dense_compute, dense_whole = stages["Compute"], whole
        rows.append(
            {
                "op": "conv" if kernel else "fc",
                "shape": f"{size}x{size}x{channels}x{outputs} {kernel}x{kernel}"
                if kernel
                else f"{size}x{channels}x{outputs}",
                "isa": isa,
                "kernel": name,
                "pattern": "dense" if kept == 100 else "4x4",
                "sparsity": 1 - kept / 100,
                "instructions_per_mac": stages["Compute"] / (macs * kept / 100),
                "xnnpack_instructions_per_mac": xnnpack / macs,
                "pack_share": stages["Pack"] / whole,
                "unpack_share": stages["Unpack"] / whole,
                "compute_ratio_vs_own_dense": dense_compute / stages["Compute"],
                "instructions_ratio_vs_own_dense": dense_whole / whole,
                "instructions_ratio_vs_xnnpack": xnnpack / whole,
                "predicted": True,
            }
        )
    return rows


def main():
    """Counts all of it and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default="bench/arm.json")
    options = parser.parse_args()
    machine = emulator.prepare()
    program = emulator.build("run_layer") / "count" / "run_layer"
    print("Instructions, not times. Ratios are of whole layers, and predictions.")
    print(f"{'layer':20} isa      sparsity  insn/MAC   to own dense   to XNNPACK")
    rows = []
    for shape in SHAPES:
        for isa in ISAS:
            for row in rows_of(machine, program, isa, shape):
                rows.append(row)
                print(
                    f"{row['shape']:20} {isa:8} {row['sparsity']:8.0%}"
                    f"{row['instructions_per_mac']:10.4f}"
                    f"{row['instructions_ratio_vs_own_dense']:14.2f}x"
                    f"{row['instructions_ratio_vs_xnnpack']:12.2f}x",
                    flush=True,
                )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
