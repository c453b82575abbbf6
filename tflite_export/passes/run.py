"""Runs passes over a graph, and proves each of them on samples.

A pass that spoils a graph spoils the file too, and a comparison of the two would see
nothing. So the outputs of the float graph before and behind each pass are compared, on
a few samples, and must agree to the tolerance the pass states.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qsparse.tflite_export.graph.graph import Graph, node_name
from qsparse.tflite_export.graph.ranges import take_trained
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.passes.base import ROUNDING, Context, Pass

_LOOKED_AT = 32  # samples, of which those with the strongest outputs are the proof
_PROBED = 4  # samples at most
_NOISE = 1e-12  # mean square of what is no difference, whatever the output
_AGREE = 0.5  # share of integers that must stay where nothing else can be compared


def run(
    graph: Graph, passes: Iterable[Pass], context: Context, min_sqnr: float = ROUNDING
) -> None:
    """Runs passes one after the other.

    Args:
        graph: a frozen graph; changed in place.
        passes: in order.
        context: with samples, passes are proven on a few of them.
        min_sqnr: floor that a user has set for the file, in dB; passes that round are
            held to no more, and no pass to anything if it is negative.

    Raises:
        RuntimeError: a pass changed what the graph computes.
    """
    probe = _Probe(context.batches if min_sqnr >= 0 else [])
    traced = probe.outputs(graph)
    context.trained = take_trained(graph)
    before = probe.outputs(graph)
    for step in passes:
        step.apply(graph, context)
        after = probe.outputs(graph)
        _check(step, traced if step.restores else before, after, min_sqnr)
        before = after


@dataclass(frozen=True)
class _Output:
    """What an output of the graph is on the samples of a proof.

    Attributes:
        floats: the output; of one that is no float the float tensors it is computed
            from, for a class or an index jumps where a float moves by nothing.
        integers: the output, if it is no float.
    """

    floats: list[np.ndarray]
    integers: np.ndarray | None


class _Probe:
    """Runs a graph on the same samples again, if it is not the graph it was.

    The samples are those on which outputs are strongest, of some spread over all: on
    others an output may lie within a step of its scale.
    """

    def __init__(self, batches: list[list[np.ndarray]]) -> None:
        size = len(batches[0][0]) if batches and batches[0] else 1
        count = min(max(_LOOKED_AT // size, 1), len(batches))
        spread = np.linspace(0, max(len(batches) - 1, 0), count).astype(int)
        self._batches = [batches[index] for index in spread]
        self._most = max(_PROBED // size, 1)
        self._seen: int | None = None
        self._found: dict[str, _Output] = {}

    def outputs(self, graph: Graph) -> dict[str, _Output]:
        """Returns what every output of the graph is."""
        now = graph.fingerprint()
        if not self._batches or now == self._seen:
            return self._found
        sources = {name: _floats(graph, t) for name, t in graph.outputs.items()}
        wanted = [*graph.outputs.values()]
        wanted += [tensor for tensors in sources.values() for tensor in tensors]
        tensors = list(dict.fromkeys(wanted))
        runs = list(
            measure(graph, lambda get: [get(t) for t in tensors], self._batches)
        )
        if self._seen is None:
            runs = self._choose(runs)
        whole = {
            tensor: np.concatenate([np.ravel(run[i]) for run in runs])
            for i, tensor in enumerate(tensors)
        }
        self._seen = now
        self._found = {
            name: _Output(
                [whole[tensor] for tensor in sources[name]],
                None if graph.dtypes[output].is_floating else whole[output],
            )
            for name, output in graph.outputs.items()
        }
        return self._found

    def _choose(self, runs: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
        """Keeps the batches on which some output is strongest; returns their runs."""
        power = np.array(
            [[np.square(a, dtype=np.float64).mean() for a in run] for run in runs]
        )
        best = np.argsort(-np.nan_to_num(power), axis=0, kind="stable")
        chosen = sorted(list(dict.fromkeys(best.ravel().tolist()))[: self._most])
        self._batches = [self._batches[index] for index in chosen]
        return [runs[index] for index in chosen]


def _floats(graph: Graph, output: str) -> list[str]:
    """Returns a float output, or the float tensors that another one is made of."""
    found, waiting, seen = [], [output], set()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen or graph.is_constant(tensor):
            continue
        seen.add(tensor)
        if graph.dtypes[tensor].is_floating:
            found.append(tensor)
        else:
            waiting += reversed(graph.nodes[node_name(tensor)].input)
    return found


def _check(
    step: Pass, before: dict[str, _Output], after: dict[str, _Output], min_sqnr: float
) -> None:
    exact = step.tolerance > ROUNDING
    least = step.tolerance if exact else min(step.tolerance, min_sqnr)
    for name, wanted in before.items():
        sqnr = _likeness(wanted, after[name], exact)
        if sqnr < least:
            raise RuntimeError(
                f"pass {step.name!r} changed what the model computes: output {name!r} "
                f"is {sqnr:.1f} dB from what it was before, and {least:g} dB is "
                "allowed. Nothing was written. Give representative_data scaled as in "
                "training; if they are, please report this."
            )


def _likeness(wanted: _Output, got: _Output, exact: bool) -> float:
    """Returns the SQNR of an output, in dB; infinite for one that counts as equal."""
    shapes = [array.shape for array in wanted.floats]
    if shapes == [array.shape for array in got.floats]:
        pairs = zip(wanted.floats, got.floats, strict=True)
        return min((_sqnr(*pair, exact) for pair in pairs), default=np.inf)
    if wanted.integers is None or got.integers is None:
        return -np.inf
    if wanted.integers.shape != got.integers.shape:
        return -np.inf
    agree = float(np.mean(wanted.integers == got.integers))
    return np.inf if agree >= _AGREE else -np.inf


def _sqnr(wanted: np.ndarray, got: np.ndarray, exact: bool) -> float:
    # What is infinite, as behind a mask, has to stay what it was.
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    error = np.where(same, 0.0, got.astype(np.float64) - wanted)
    power = np.where(np.isfinite(wanted), wanted, 0.0).astype(np.float64) ** 2
    wrong = float(np.mean(error**2)) if error.size else 0.0
    if not np.isfinite(wrong):
        return -np.inf
    if wrong <= _NOISE or (not exact and not power.any()):
        return np.inf  # a dead output has no step that an error could be held against
    return float(10 * np.log10(max(float(power.mean()), _NOISE) / wrong))
