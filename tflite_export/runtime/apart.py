"""Asks LiteRT about a file in a process of its own.

LiteRT trusts the files it loads: a damaged one can end the process, or keep it busy for
ever. The process that asks survives, and says what happened.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from qsparse.tflite_export.files.plain_text import one_line
from qsparse.tflite_export.runtime.interpreter import (
    Interpreter,
    delegate_library,
    plain_interpreter,
    read_plan,
    running,
)

PLAN_SECONDS = 120.0
RUN_SECONDS = 600.0
# -P: a file in the current folder must not pass for one of our modules.
_PROGRAM = ("-P", "-m", __name__)


def plan_apart(
    path: str | os.PathLike, *, seconds: float = PLAN_SECONDS, **options: str
) -> list[dict[str, Any]]:
    """Returns what `read_plan` does, whatever LiteRT makes of the file.

    Args:
        path: a .tflite or .qsp file.
        seconds: how long it may take.
        **options: delegate options.

    Raises:
        ValueError: LiteRT refuses the file, dies on it or does not finish; says which.
        FileNotFoundError: the delegate is missing.
    """
    return _ask("plan", path, seconds, options)


def check_runs(path: str | os.PathLike, *, seconds: float = RUN_SECONDS) -> None:
    """Runs a file once on zeros, without and with our delegate, before we trust it.

    Args:
        path: a .tflite or .qsp file.
        seconds: how long it may take.

    Raises:
        ValueError: LiteRT refuses the file, dies on it or does not finish; says which.
        FileNotFoundError: the delegate is missing.
    """
    _ask("run", path, seconds)


def _ask(
    question: str,
    path: str | os.PathLike,
    seconds: float,
    options: dict[str, str] | None = None,
) -> Any:
    delegate_library()
    command = [sys.executable, *_PROGRAM, question, os.fspath(path)]
    command += [f"{name}={value}" for name, value in (options or {}).items()]
    with tempfile.TemporaryDirectory() as scratch:  # the dead do not tidy up
        process = subprocess.Popen(
            command,
            env=os.environ | {"TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException as stop:  # Ctrl-C too
            process.kill()
            process.communicate()
            if not isinstance(stop, subprocess.TimeoutExpired):
                raise
            raise ValueError(
                f"LiteRT did not finish with {path} in {seconds:g} seconds."
            ) from None
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise ValueError(
            f"LiteRT died on {path} ({name}): the file is damaged, or LiteRT does not "
            "expect what it holds. Export or download it again."
        )
    try:
        answer = json.loads(out)
    except ValueError:
        last = err.decode(errors="backslashreplace").splitlines()[-1:]
        raise ValueError(f"LiteRT failed on {path}: {one_line(*last)}") from None
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["found"]


def _run_all(path: str) -> None:
    for runner in (
        plain_interpreter(path),
        Interpreter(path),
        Interpreter(path, dense=True),
        Interpreter(path, min_gain=0),
    ):
        with running(path):
            runner.allocate_tensors()
            for entry in runner.get_input_details():
                zeros = np.zeros(entry["shape"], entry["dtype"])
                runner.set_tensor(entry["index"], zeros)
            runner.invoke()


def _answer(question: str, path: str, *options: str) -> dict[str, Any]:
    """Answers in the process that may die."""
    try:
        if question == "plan":
            given = dict(option.split("=", 1) for option in options)
            return {"found": read_plan(path, **given)}
        _run_all(path)
        return {"found": None}
    except (ValueError, OSError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    with contextlib.suppress(ValueError, OSError):  # no core files of expected deaths
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(json.dumps(_answer(*sys.argv[1:])))
