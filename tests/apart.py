"""What needs a process of its own: another backend, or another start of TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path


def run_python(*arguments, backend="tensorflow", timeout=300, **environment):
    """Run Python from the project's root, and return what it printed.

    Args:
        *arguments: as of the command line: `"-m", module, ...` or `"-c", program`.
        backend: of Keras.
        timeout: seconds.
        **environment: further variables.
    """
    run = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"KERAS_BACKEND": backend} | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
