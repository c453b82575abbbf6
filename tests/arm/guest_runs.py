"""Runs the guest and judges what it found."""

import json
import subprocess

from . import cases, emulator


def run(machine, cpu, library, folder):
    """What guest.py says of every case in `folder`, by name."""
    script = emulator.HERE / "guest.py"
    isas = ",".join(emulator.CPUS[cpu])
    result = subprocess.run(
        machine.python(cpu, script, library, folder, isas),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return {one["case"]: one for one in found}


def assert_exact(found, names, cpu, least):
    """No difference in any case, on any ISA; all of them did run, and on that ISA."""
    assert sorted(found) == sorted(names)
    forced = {(isa, threads) for isa in emulator.CPUS[cpu] for threads in (1, 2)}
    for name, one in found.items():
        assert one["values"] >= least(name), f"{name}: degenerate output proves nothing"
        assert {(each["isa"], each["threads"]) for each in one["runs"]} == forced
        for each in one["runs"]:
            assert each["different"] == 0, (name, each)
            assert each["claimed"] > 0, (name, each)
            assert each["used"] == [cases.kernel_isa(name, each["isa"])], (name, each)
