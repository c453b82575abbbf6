"""Every registered method through everything that there is on JAX, in one process."""

from tests.apart import run_python


def test_every_method_on_jax(tmp_path):
    # Compiling takes most of the time, and what is compiled runs for an instant.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    worker = "tests.compression_worker"
    run_python("-m", worker, tmp_path, backend="jax", timeout=1800, **quick)
