"""The list of passes, run over a graph, and with some of them left out or replaced."""

from contextlib import contextmanager

from qsparse.tflite_export.passes import PASSES
from qsparse.tflite_export.passes.base import Context
from qsparse.tflite_export.passes.run import run


def quantize(graph, batches, **settings):
    """Run the passes of an int8 file over a frozen graph; return its ranges."""
    context = Context(batches=list(batches), **settings)
    run(graph, PASSES, context)
    return context.ranges


@contextmanager
def replaced(name, *others):
    """Export with other passes in the place of one, or with none."""
    before = list(PASSES)
    (index,) = (i for i, step in enumerate(PASSES) if step.name == name)
    PASSES[index : index + 1] = others
    try:
        yield
    finally:
        PASSES[:] = before


@contextmanager
def without(*names):
    """Export without some of the passes."""
    before = list(PASSES)
    assert set(names) <= {step.name for step in PASSES}
    PASSES[:] = [step for step in PASSES if step.name not in names]
    try:
        yield
    finally:
        PASSES[:] = before
