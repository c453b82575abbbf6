"""Runs the guest and judges what it found."""

import itertools
import json
import subprocess

from . import cases, emulator


def run(machine, cpu, library, folder, kernels):
    """What guest.py says of every case in `folder`, by name."""
    script = emulator.HERE / "guest.py"
    isas = ",".join(emulator.CPUS[cpu])
    result = subprocess.run(
        machine.python(cpu, script, library, folder, isas, ",".join(kernels)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return {one["case"]: one for one in found}


def assert_exact(found, names, cpu, kernels, least):
    """No difference in any case; what was forced did run, all of it."""
    assert sorted(found) == sorted(names)
    forced = set(itertools.product(emulator.CPUS[cpu], kernels, (1, 2)))
    for name, one in found.items():
        assert one["values"] >= least(name), f"{name}: degenerate output proves nothing"
        runs = one["runs"]
        assert {(run["isa"], run["kernel"], run["threads"]) for run in runs} == forced
        for each in runs:
            assert each["different"] == 0, (name, each)
            assert each["claimed"] > 0, (name, each)
            isa = cases.kernel_isa(name, each["isa"])
            assert each["used"] == [isa], (name, each)
            if each["kernel"] in emulator.EVERY_KERNEL and isa != "portable":
                layers = [used for used in each["kernels"] if used != "planes"]
                assert layers == [each["kernel"]], (name, each)
