"""On every emulated CPU, no output of any NEON kernel differs from XNNPACK's there."""

import pytest

from . import cases, emulator, guest_runs


@pytest.fixture(scope="session")
def one_op_cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_op")
    return folder, cases.write(folder)


@pytest.mark.parametrize("cpu", emulator.CPUS)
def test_kernels(cpu, machine, library, one_op_cases):
    folder, names = one_op_cases
    found = guest_runs.run(machine, cpu, library, folder, emulator.EVERY_KERNEL)
    guest_runs.assert_exact(
        found, names, cpu, emulator.EVERY_KERNEL, cases.least_values
    )
    for one in found.values():
        assert all(run["claimed"] == run["layers"] == 1 for run in one["runs"]), one
