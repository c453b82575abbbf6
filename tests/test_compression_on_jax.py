"""Every registered method through everything that there is on JAX, in one process."""

import os
import subprocess
import sys
from pathlib import Path


def test_every_method_on_jax(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.compression_worker", str(tmp_path)],
        cwd=Path(__file__).parents[1],
        # Compiling takes most of the time, and what is compiled runs for an instant.
        env=os.environ
        | {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert run.returncode == 0, run.stderr
