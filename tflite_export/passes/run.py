"""Runs passes over a graph, and proves each of them on samples.

A pass that spoils a graph spoils the file too, and a comparison of the two would see
nothing. So the outputs of the float graph before and behind each pass are compared, on
a few samples, and must agree to the tolerance the pass states.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from qsparse.tflite_export.graph.graph import Graph, node_name
from qsparse.tflite_export.graph.ranges import take_trained
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass

_PROBED = 2  # samples
_NOISE = 1e-12  # mean square of what is no difference, whatever the output


def run(
    graph: Graph, passes: Iterable[Pass], context: Context, min_sqnr: float = ROUNDING
) -> None:
    """Runs passes one after the other.

    Args:
        graph: a frozen graph; changed in place.
        passes: in order.
        context: with samples, passes are proven on the first of them.
        min_sqnr: floor that a user has set for the file, in dB; passes that round are
            held to no more, and no pass to anything if it is negative.

    Raises:
        RuntimeError: a pass changed what the graph computes.
    """
    probe = _Probe(context.batches)
    traced = probe.outputs(graph)
    context.trained = take_trained(graph)
    before = probe.outputs(graph)
    for step in passes:
        step.apply(graph, context)
        after = probe.outputs(graph)
        wanted = traced if step.restores else before
        _check(step, wanted, after, _least(step, min_sqnr))
        before = after


class _Probe:
    """Runs a graph on the same samples again, if it is not the graph it was."""

    def __init__(self, batches: list[list[np.ndarray]]) -> None:
        size = len(batches[0][0]) if batches and batches[0] else 1
        self._batches = batches[: max(_PROBED // size, 1)]
        self._seen: int | None = None
        self._found: list[tuple[str, np.ndarray]] = []

    def outputs(self, graph: Graph) -> list[tuple[str, np.ndarray]]:
        """Returns `(name, values)` of what the graph computes in float."""
        now = graph.fingerprint()
        if self._batches and now != self._seen:
            tensors = list(_float_ends(graph))
            runs = list(
                measure(graph, lambda get: [get(t) for _, t in tensors], self._batches)
            )
            self._found = [
                (name, np.concatenate([np.ravel(run[i]) for run in runs]))
                for i, (name, _) in enumerate(tensors)
            ]
            self._seen = now
        return self._found


def _float_ends(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yields the name of every output, and the float tensors it is computed from.

    A class or an index jumps where a float moves by nothing.
    """
    for name, output in graph.outputs.items():
        waiting, seen = [output], set()
        while waiting:
            tensor = waiting.pop()
            if tensor in seen or graph.is_constant(tensor):
                continue
            seen.add(tensor)
            if graph.dtypes[tensor].is_floating:
                yield name, tensor
            else:
                waiting += reversed(graph.nodes[node_name(tensor)].input)


def _least(step: Pass, min_sqnr: float) -> float:
    """Returns the SQNR a pass is held to."""
    if min_sqnr < 0:
        return min_sqnr
    exact = step.tolerance > ROUNDING
    return step.tolerance if exact else min(step.tolerance, min_sqnr)


def _check(
    step: Pass,
    before: list[tuple[str, np.ndarray]],
    after: list[tuple[str, np.ndarray]],
    least: float,
) -> None:
    if len(before) != len(after):
        raise RuntimeError(f"pass {step.name!r} changed what the model returns.")
    for (name, wanted), (_, got) in zip(before, after, strict=True):
        sqnr = _sqnr(wanted, got)
        if sqnr < least:
            raise RuntimeError(
                f"pass {step.name!r} changed what the model computes: output {name!r} "
                f"is {sqnr:.1f} dB from what it was before, and {least:g} dB is "
                "allowed. Nothing was written. Give representative_data scaled as in "
                "training; if they are, please report this."
            )


def _sqnr(wanted: np.ndarray, got: np.ndarray) -> float:
    if wanted.shape != got.shape:
        return -np.inf
    # What is infinite, as behind a mask, has to stay what it was.
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    error = np.where(same, 0.0, got.astype(np.float64) - wanted)
    power = np.where(np.isfinite(wanted), wanted, 0.0).astype(np.float64) ** 2
    wrong = float(np.mean(error**2)) if error.size else 0.0
    if not np.isfinite(wrong):
        return -np.inf
    if wrong <= _NOISE:
        return np.inf
    return float(10 * np.log10(max(float(power.mean()), 1e-300) / wrong))
