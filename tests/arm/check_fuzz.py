"""Random layers against the definition, in guarded buffers, on every emulated CPU."""

import subprocess

import pytest

from . import emulator

SECONDS = 10


@pytest.fixture(scope="session")
def program():
    return emulator.build("fuzz_kernels") / "fuzz" / "fuzz_kernels"


@pytest.mark.parametrize("cpu", emulator.CPUS)
def test_random_layers(cpu, machine, program):
    result = subprocess.run(
        [
            *(machine.qemu, "-cpu", cpu, "-L", machine.system, program),
            *("--seconds", str(SECONDS), "--max-macs", "200000"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    for isa in emulator.CPUS[cpu]:
        for kernel in emulator.EVERY_KERNEL:
            lines = output.splitlines()
            runs = [line for line in lines if f"  {isa} {kernel} " in line]
            assert len(runs) == 1 and int(runs[0].split()[-2]) > 100, output
