"""Random layers on every kernel, for a few seconds: make fuzz-kernels does more."""

import os
import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program():
    """The fuzzer, built if need be; a sanitized one can be tested in its place."""
    given = os.environ.get("QSPARSE_TEST_FUZZER")
    if given:
        return pathlib.Path(given)
    tools = str(pathlib.Path(sys.executable).parent)
    environment = {**os.environ, "PATH": tools + os.pathsep + os.environ["PATH"]}
    # Where the installed library was built: its objects are the ones to test.
    build = ROOT / "build" / f"py3-none-linux_{platform.machine()}"
    configure = ["cmake", "-S", ROOT / "tflite_export" / "kernels", "-B", build]
    configure += ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DQSPARSE_FUZZ=ON"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    compile_ = ["cmake", "--build", build, "--target", "fuzz_kernels"]
    for command in (configure, compile_):
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return build / "fuzz" / "fuzz_kernels"


def fuzz(program, *arguments):
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, check=False
    )


def test_no_kernel_differs_from_the_definition_or_allocates(program):
    done = fuzz(program, "--seconds", "5", "--seed", "1", "--max-macs", "1000000")
    assert done.returncode == 0, done.stdout + done.stderr
    # A sanitized build has an allocator of its own.
    given = "QSPARSE_TEST_FUZZER" in os.environ
    assert given or "allocations are counted" in done.stdout
    for exercised in ("portable block_4x4", "portable chain"):
        assert exercised in done.stdout


def test_bad_arguments_are_refused(program):
    for arguments in (["--seconds"], ["--isa", "mmx"], ["--cases", "many"]):
        assert fuzz(program, *arguments).returncode == 2
