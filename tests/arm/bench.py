"""Instructions of every NEON kernel, dense and sparse, counted by the emulator.

There is no ARM machine to time on, so `bench/arm.json` says what is counted and what
is predicted from it: a ratio of instructions is one of time only where the processor
gets through instructions of both at the same rate.
"""

import argparse
import collections
import json
import pathlib
import subprocess

from . import emulator

# Of the run: what is counted, by a part of its mangled name.
STAGES = {"Compute": b"7ComputeERK", "Pack": b"4PackERK", "Unpack": b"6UnpackERK"}
ISAS = {"neon": "cortex-a53", "dotprod": "cortex-a76", "i8mm": "max"}
KEPT = (50, 25, 20, 10)
# Rows (or the side of the image), channels, outputs, kernel (0: fully connected).
SHAPES = ((64, 256, 128, 0), (16, 768, 64, 0), (14, 64, 64, 3))


def count(machine, program, isa, shape, kept, dense):
    """Instructions by stage, the kernel's name and the MACs of the dense layer.

    With one instruction per translated block, the emulator's trace of blocks is one
    of instructions, each with the function it is in.
    """
    arguments = [isa, *shape, kept, int(dense)]
    process = subprocess.Popen(
        [
            *(machine.qemu, "-cpu", ISAS[isa], "-L", machine.system),
            *("-one-insn-per-tb", "-d", "exec,nochain", program),
            *map(str, arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    functions = collections.Counter(
        line.rsplit(b" ", 1)[-1] for line in process.stderr
    )
    output = process.stdout.read().split()
    if process.wait() != 0 or len(output) != 3:
        raise RuntimeError(f"{program} {arguments} failed")
    if output[0].decode() != isa:
        raise RuntimeError(f"{output[0]} ran instead of {isa}")
    stages = {
        stage: sum(n for name, n in functions.items() if part in name)
        for stage, part in STAGES.items()
    }
    if not all(stages.values()):
        raise RuntimeError(f"stages not found: {stages}")
    return stages, output[1].decode(), int(output[2])


def rows_of(machine, program, isa, shape):
    """The dense row and the sparse ones of one kernel and shape."""
    size, channels, outputs, kernel = shape
    rows = []
    for kept in (100, *KEPT):
        stages, name, macs = count(machine, program, isa, shape, kept, kept == 100)
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
                "pack_share": stages["Pack"] / whole,
                "unpack_share": stages["Unpack"] / whole,
                "compute_ratio_vs_own_dense": dense_compute / stages["Compute"],
                "instructions_ratio_vs_own_dense": dense_whole / whole,
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
    program = emulator.build_library().parent / "count" / "run_layer"
    rows = []
    print("layer                isa      sparsity  insn/MAC  compute  whole (predicted)")
    for shape in SHAPES:
        for isa in ISAS:
            for row in rows_of(machine, program, isa, shape):
                rows.append(row)
                print(
                    f"{row['shape']:20} {isa:8} {row['sparsity']:8.0%}"
                    f"{row['instructions_per_mac']:10.4f}"
                    f"{row['compute_ratio_vs_own_dense']:8.2f}x"
                    f"{row['instructions_ratio_vs_own_dense']:6.2f}x",
                    flush=True,
                )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
