"""Splits a model's time between our layers, XNNPACK's and what lies between them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qsparse.tflite_export.bench import measure_interleaved, random_values
from qsparse.tflite_export.files.cut_out import cut_out
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Op
from qsparse.tflite_export.runtime.interpreter import (
    Interpreter,
    plain_interpreter,
    read_plan,
)

_TURN_SECONDS = 0.0005
_WHOLE, _OURS = "whole", "ours"  # no op is called that


@dataclass(frozen=True)
class Split:
    """Where the time of one inference goes, in microseconds, one thread.

    Attributes:
        whole_us: the model with our delegate.
        ours_us: files of the nodes our delegate takes, one for each group of nodes
            that it runs as one, with our delegate.
        rest_us: files of each other node, alone, with XNNPACK.
        overhead_us: what these do not explain: borders between the two delegates,
            and caches that one node empties for the next.
        rest_by_op: kind of op -> its part of `rest_us`, most time first.
        largest_remaining: the largest of `rest_by_op` and the overhead.
    """

    whole_us: float
    ours_us: float
    rest_us: float
    overhead_us: float
    rest_by_op: dict[str, float]
    largest_remaining: str

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class Group:
    """Nodes that our delegate runs as one.

    Attributes:
        ops: the nodes, in the order they run.
    """

    ops: list[Op]


def split(content: bytes, rounds: int) -> Split:
    """Measures a model and its parts in turns.

    The interpreter has no profiler that Python reaches, so nodes are cut out into
    files of their own, whose weights and activations then are in the cache.

    Args:
        content: a .tflite file.
        rounds: number of turns.
    """
    file = ModelFile(content)
    rest = {op.index: op for op in file.ops}
    runners: dict[str, Any] = {_WHOLE: Interpreter(content)}
    for number, group in enumerate(claimed_groups(content, file)):
        runners[f"{_OURS} {number}"] = Interpreter(cut_out(file, group.ops), min_gain=0)
        for op in group.ops:
            del rest[op.index]
    for op in rest.values():
        runners[f"{op.name} {op.index}"] = plain_interpreter(cut_out(file, [op]))
    for runner in runners.values():
        feed(runner)
    times = measure_interleaved(runners, rounds, seconds=_TURN_SECONDS, warm=True)
    by_kind: dict[str, float] = {}
    for name, values in times.items():
        kind = name.split()[0]
        by_kind[kind] = by_kind.get(kind, 0.0) + float(values.min())
    whole, ours_us = by_kind.pop(_WHOLE), by_kind.pop(_OURS, 0.0)
    rest_us = sum(by_kind.values())
    overhead = whole - ours_us - rest_us
    candidates = by_kind | {"overhead": overhead}
    return Split(
        whole_us=whole,
        ours_us=ours_us,
        rest_us=rest_us,
        overhead_us=overhead,
        rest_by_op=dict(sorted(by_kind.items(), key=lambda item: -item[1])),
        largest_remaining=max(candidates, key=lambda name: candidates[name]),
    )


def claimed_groups(content: bytes, file: ModelFile) -> list[Group]:
    """Returns the groups of nodes that our delegate takes.

    Args:
        content: a .tflite file.
        file: the same, read.
    """
    ops = {op.index: op for op in file.ops}
    found: dict[int, list[dict[str, Any]]] = {}
    for entry in read_plan(content):
        if entry["claimed"]:
            found.setdefault(entry["group"], []).append(entry)
    return [
        Group([ops[node] for node in sorted(entry["node"] for entry in entries)])
        for entries in found.values()
    ]


def feed(runner: Any) -> None:
    """Allocates an interpreter and gives it random inputs."""
    rng = np.random.default_rng(0)
    runner.allocate_tensors()
    for entry in runner.get_input_details():
        runner.set_tensor(
            entry["index"], random_values(rng, entry["shape"], np.dtype(entry["dtype"]))
        )
