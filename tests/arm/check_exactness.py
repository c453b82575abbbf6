"""On every emulated CPU, no output of any NEON kernel differs from XNNPACK's there."""

import json
import subprocess
import sys

import pytest

from . import cases, emulator


@pytest.fixture(scope="session")
def machine():
    return emulator.prepare()


@pytest.fixture(scope="session")
def library():
    return emulator.build_library()


@pytest.fixture(scope="session")
def one_op_cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_op")
    return folder, cases.write(folder)


def run_guest(machine, cpu, library, folder):
    """What the guest found, by case."""
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
    assert sorted(found) == sorted(names)
    for name, one in found.items():
        assert one["values"] >= least(name), f"{name}: degenerate output proves nothing"
        forced = {(run["isa"], run["threads"]) for run in one["runs"]}
        assert forced == {(i, t) for i in emulator.CPUS[cpu] for t in (1, 2)}
        for run in one["runs"]:
            assert run["different"] == 0, (name, run)
            assert run["claimed"] > 0, (name, run)
            assert run["used"] == [run["isa"]], (name, run)


@pytest.mark.parametrize("cpu", emulator.CPUS)
def test_kernels(cpu, machine, library, one_op_cases):
    folder, names = one_op_cases
    found = run_guest(machine, cpu, library, folder)
    assert_exact(found, names, cpu, least=lambda name: 9)
    assert all(run["claimed"] == 1 for one in found.values() for run in one["runs"])
