"""Keras -> int8 LiteRT file, and back into a process that runs it sparse."""

from importlib import import_module
from typing import Any

# Loaded on first use: inspecting or running a file must not import TensorFlow.
# `export` itself is `qsparse.export`; here that name is the module.
_HOMES = {
    "ExportReport": "export_report",
    "Interpreter": "runtime.interpreter",
    "delegate_library": "runtime.interpreter",
    "benchmark": "bench",
    "inspect_file": "inspect",
    "Verification": "verify",
    "verify_file": "verify",
    "pack": "packing",
    "unpack": "packing",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
