"""Run one-operator models through LiteRT, with and without the delegate."""

import ctypes
import importlib.resources
import json
import os
import pathlib
import tempfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate

KERNELS = pathlib.Path(__file__).parents[2] / "tflite_export" / "kernels"
# A sanitized build can be tested in place of the installed one.
LIBRARY = os.environ.get("QSPARSE_TEST_LIBRARY") or str(
    importlib.resources.files("qsparse.tflite_export") / "libqsparse_delegate.so"
)


def _isas():
    """The ISAs that the library has kernels for, the plainest first."""
    function = ctypes.CDLL(LIBRARY).qsparse_isas
    function.restype = ctypes.c_char_p
    return tuple(reversed(function().decode().split()))


ISAS = _isas()


def interpreter(model, num_threads=1, /, **options):
    """An allocated interpreter; without options, plain LiteRT with XNNPACK."""
    delegates = [load_delegate(LIBRARY, options)] if options else []
    result = Interpreter(
        model_content=model.content,
        experimental_delegates=delegates,
        num_threads=num_threads,
    )
    result.allocate_tensors()
    return result


def invoke(runner, x):
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    outputs = [runner.get_tensor(d["index"]) for d in runner.get_output_details()]
    return outputs[0] if len(outputs) == 1 else outputs


def plan_of(model, **options):
    """The delegate's decisions for a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "plan.json"
        interpreter(model, plan=str(path), **options)
        return json.loads(path.read_text())


def assert_exact(model, isas=ISAS, threads=(1, 2), seed=0, least=9, **options):
    """No output differs from XNNPACK's, and the delegate did take the layer.

    `least` is how many different values the outputs must have.
    """
    x = model.input(seed)
    expected = invoke(interpreter(model), x)
    assert np.unique(expected).size >= least, "degenerate output proves nothing"
    for isa in isas:
        (decision,) = plan_of(model, isa=isa, min_gain="0", **options)
        assert decision["claimed"], decision
        for count in threads:
            runner = interpreter(model, count, isa=isa, min_gain="0", **options)
            actual = invoke(runner, x)
            np.testing.assert_array_equal(actual, expected, err_msg=f"{isa} x{count}")


def cpu_has(flag):
    """Whether the processor lists a feature, as Linux spells it."""
    return flag in pathlib.Path("/proc/cpuinfo").read_text().split()
