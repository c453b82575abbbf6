"""Whose error ended a process: the delegate's, or the runtime's own."""

import json
import os
import re
import shutil
import subprocess

_SECONDS = 600
_RUNTIME = "libpywrap_litert"
_DELEGATE = re.compile(r"libqsparse_delegate|qsparse::")
_ERROR = re.compile(r"Invalid (?:read|write|free)|Process terminating with default")
_FRAME = re.compile(r"==\d+==\s+(?:at|by) 0x")


def stacks(report):
    """The stacks of the errors in a report of valgrind, each as one text."""
    found, open_stack = [], False
    for line in report.splitlines():
        if _ERROR.search(line):
            found.append("")
            open_stack = True
        elif open_stack and _FRAME.match(line):
            found[-1] += line + "\n"
        elif open_stack and found[-1]:
            open_stack = False
    return found


def errs_by_itself(command, path):
    """Whether valgrind sees the runtime err, and the delegate nowhere near.

    Without valgrind, or where the file keeps it busy, nobody knows: False.

    Args:
        command: of a worker.
        path: a batch with the one file.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return False
    command = [valgrind, "--undef-value-errors=no", "--error-limit=no", *command]
    try:
        report = _report(command, path)
    except subprocess.TimeoutExpired:
        return False
    of_runtime = [stack for stack in stacks(report) if _RUNTIME in stack]
    return bool(of_runtime) and not any(_DELEGATE.search(stack) for stack in of_runtime)


def _report(command, path):
    run = subprocess.run(
        command,
        input=json.dumps([str(path), 0]) + "\n",
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONMALLOC": "malloc"},
        timeout=_SECONDS,
    )
    return run.stderr
