"""What this CPU is, and what XNNPACK makes of it."""

import contextlib
import ctypes
import functools
import os
from pathlib import Path

from qsparse.tflite_export.runtime.interpreter import delegate_library


def cpu_name() -> str:
    """Returns the model name of the CPU, as Linux tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine


@functools.cache
def xnnpack_isa() -> str:
    """Returns the instructions XNNPACK's int8 kernels use here, e.g. "AVX512-VNNI".

    Raises:
        FileNotFoundError: the package was installed without the delegate, which
            detects them.
    """
    function = ctypes.CDLL(delegate_library()).qsparse_xnnpack_isa
    function.restype = ctypes.c_char_p
    return function().decode()


def xnnpack_note() -> str:
    """Returns one line that says what our kernels are compared with here."""
    return f"XNNPACK runs int8 with {xnnpack_isa()} on this CPU."
