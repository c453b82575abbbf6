"""Interpreters of one process share packed weights, from any thread."""

import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights

from . import runner

# Large blocks go back to the system when they are freed, and do not blur the picture.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "100000", "MALLOC_ARENA_MAX": "1"}

SCRIPT = """
import gc, pathlib, sys
import numpy as np
from benchmarks import one_op_models
from benchmarks.sparse_weights import sparse_weights
from tests.kernels import runner

def resident():
    gc.collect()
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096

def load():
    return [runner.interpreter(m, dense="1", kernel=sys.argv[1]) for m in models]

shape = (2048, 2048)
weights = [sparse_weights(shape, "dense", seed=i) for i in range(6)]
models = [one_op_models.fully_connected_model(w, 16) for w in weights]
start = resident()
first = load()
middle = resident()
second = load()
end = resident()
x = models[0].input()
expected = runner.invoke(first[0], x)
del first
np.testing.assert_array_equal(runner.invoke(second[0], x), expected)
print(middle - start, end - middle)
"""


def stack(pattern, density):
    weights = sparse_weights((1024, 1024), pattern, density)
    return one_op_models.fully_connected_model(weights, 16, layers=24)


@pytest.mark.parametrize("kernel", ["block_4x4", "fine"])
def test_a_second_interpreter_packs_nothing(kernel):
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kernel],
        cwd=root,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = map(int, done.stdout.split())
    assert first > 6 * 2048 * 2048
    assert second < first / 4


def test_several_interpreters_in_several_threads():
    model = stack("4x4", 0.3)
    x = model.input()
    expected = runner.invoke(runner.interpreter(model), x)
    failures = []

    def work():
        for _ in range(3):
            outputs = runner.invoke(runner.interpreter(model, 2, min_gain="0"), x)
            for output, wanted in zip(outputs, expected, strict=True):
                if not np.array_equal(output, wanted):
                    failures.append(output)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
