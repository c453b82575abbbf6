"""Interleaved benchmark: XNNPACK dense, our dense kernels, our sparse kernels."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.tflite_export.advice import advise
from qsparse.tflite_export.files.cut_out import cut_out
from qsparse.tflite_export.files.grid import BY_TYPE
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CLAIMABLE
from qsparse.tflite_export.files.source import read_source
from qsparse.tflite_export.runtime.cpu import cpu_name, xnnpack_isa
from qsparse.tflite_export.runtime.interpreter import (
    MOST_THREADS,
    Interpreter,
    plain_interpreter,
    read_plan,
    running,
)

VARIANTS = ("xnnpack", "qsparse_dense", "qsparse")
_SLICE_SECONDS = 0.004  # long against the timer, short against a scheduler's whims
_WARM_UP = 3
_MOST_ROUNDS = 1_000_000


@dataclass(frozen=True)
class BenchReport:
    """Latency of one model in the three variants, measured in turns in one process.

    Attributes:
        name: file or layer.
        threads: threads of each variant.
        rounds: number of turns.
        pinned: whether the process was bound to one core.
        cpu: name of the CPU.
        xnnpack_isa: instructions that XNNPACK's int8 kernels use on it.
        min_us: variant -> least time of one inference, in microseconds.
        median_us: variant -> median over the rounds, in microseconds.
        speedup_min: ratio of the least times, XNNPACK to ours.
        speedup_median: median of the ratio within each round, XNNPACK to ours.
        over_own_dense: as `speedup_median`, our dense kernels to our sparse ones.
        exact: whether all variants return the same bytes.
        claimed: nodes our delegate runs.
        advice: what to know before more is expected of its zeros on this CPU, or "".
    """

    name: str
    threads: int
    rounds: int
    pinned: bool
    cpu: str
    xnnpack_isa: str
    min_us: dict[str, float]
    median_us: dict[str, float]
    speedup_min: float
    speedup_median: float
    over_own_dense: float
    exact: bool
    claimed: int
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        return asdict(self)


def benchmark(
    model: str | os.PathLike | bytes,
    *,
    threads: int = 1,
    rounds: int = 60,
    name: str | None = None,
    **delegate_options: Any,
) -> BenchReport:
    """Measures a file.

    Every round times each variant for a few milliseconds, in an order that turns
    with the round, so that a change of clock or a busy neighbour hits all of them.

    Args:
        model: path or contents of a .tflite or .qsp file.
        threads: threads to use; with 1, the process is bound to one core meanwhile.
        rounds: number of turns.
        name: name in the report; by default the file's.
        **delegate_options: passed to our `Interpreter`.

    Raises:
        ValueError: the file is damaged or an argument is wrong.
        FileNotFoundError: no such file, or the delegate is missing.
    """
    report = _benchmark(model, threads, rounds, name, delegate_options)
    # What options change is no property of the file on this CPU.
    found = None if delegate_options else advise(model, read_plan(model))
    return replace(report, advice="" if found is None else str(found))


def _benchmark(
    model: str | os.PathLike | bytes,
    threads: int,
    rounds: int,
    name: str | None,
    delegate_options: dict[str, Any],
) -> BenchReport:
    check_arguments(threads=threads, rounds=rounds)
    file = ModelFile(model)
    name = name or Path(file.name).name
    _, contents = read_source(model)
    with one_core(threads == 1) as pinned:
        runners = {
            "xnnpack": plain_interpreter(contents, threads),
            "qsparse_dense": Interpreter(
                contents, threads, **(delegate_options | {"dense": True})
            ),
            "qsparse": Interpreter(contents, threads, **delegate_options),
        }
        claimed = _claimed(runners["qsparse"])
        with running(file.name):
            exact = _prepare(runners, file)
        times = measure_interleaved(runners, rounds)
    least = {variant: float(times[variant].min()) for variant in VARIANTS}
    ratio = times["xnnpack"] / times["qsparse"]
    own = times["qsparse_dense"] / times["qsparse"]
    return BenchReport(
        name=name,
        threads=threads,
        rounds=rounds,
        pinned=pinned,
        cpu=cpu_name(),
        xnnpack_isa=xnnpack_isa(),
        min_us=least,
        median_us={v: float(np.median(times[v])) for v in VARIANTS},
        speedup_min=least["xnnpack"] / least["qsparse"],
        speedup_median=float(np.median(ratio)),
        over_own_dense=float(np.median(own)),
        exact=exact,
        claimed=claimed,
    )


def check_arguments(*, threads: int, rounds: int) -> None:
    """Checks what does not depend on the file.

    Args:
        threads: threads to use.
        rounds: number of turns.

    Raises:
        ValueError: one of them is out of range; says which.
    """
    for label, value, most in (
        ("threads", threads, MOST_THREADS),
        ("rounds", rounds, _MOST_ROUNDS),
    ):
        if not 1 <= value <= most:
            raise ValueError(
                f"{label} must be at least 1, got {value}."
                if value < 1
                else f"{label} must be at most {most:,}, got {value}."
            )


def benchmark_layers(
    model: str | os.PathLike | bytes,
    *,
    threads: int = 1,
    rounds: int = 60,
    **delegate_options: Any,
) -> list[BenchReport]:
    """Measures every int8 FULLY_CONNECTED and CONV_2D of a file on its own.

    Args:
        model: path or contents of a .tflite or .qsp file.
        threads: as for `benchmark`.
        rounds: as for `benchmark`.
        **delegate_options: as for `benchmark`.
    """
    file = ModelFile(model)
    return [
        _benchmark(
            cut_out(file, [op]),
            threads,
            rounds,
            f"{op.index} {op.name}",
            delegate_options,
        )
        for op, _ in file.int8_layers()
        if op.name in CLAIMABLE
    ]


@contextlib.contextmanager
def one_core(wanted: bool) -> Iterator[bool]:
    """Binds the process to one core; yields whether that worked."""
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield False
        return
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(allowed)})
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, allowed)


def _claimed(interpreter: Interpreter) -> int:
    """Counts the nodes of our delegate, before XNNPACK puts nodes of its own."""
    return sum(op["op_name"] == "DELEGATE" for op in interpreter._get_ops_details())


def _prepare(runners: dict[str, Any], file: ModelFile) -> bool:
    """Feeds all variants the same input; returns whether they agree exactly."""
    rng = np.random.default_rng(0)
    values = [random_values(rng, t.shape, t.dtype) for t in file.inputs]
    results = []
    for runner in runners.values():
        runner.allocate_tensors()
        details = runner.get_input_details()
        for entry, value in zip(details, values, strict=True):
            runner.set_tensor(entry["index"], value)
        for _ in range(_WARM_UP):
            runner.invoke()
        results.append(
            [
                runner.get_tensor(d["index"]).tobytes()
                for d in runner.get_output_details()
            ]
        )
    return all(result == results[0] for result in results)


def random_values(
    rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype
) -> np.ndarray:
    """Returns values for an input of a file."""
    if dtype in (np.int8, np.int16):
        grid = BY_TYPE[np.dtype(dtype)]
        return rng.integers(grid.least, grid.greatest + 1, shape).astype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def measure_interleaved(
    runners: dict[str, Any],
    rounds: int,
    *,
    seconds: float = _SLICE_SECONDS,
    warm: bool = False,
) -> dict[str, np.ndarray]:
    """Times interpreters in turns.

    Args:
        runners: name -> allocated interpreter with its inputs set.
        rounds: number of turns.
        seconds: length of a turn of one interpreter; at least one inference.
        warm: whether each turn begins with an inference that is not timed.

    Returns:
        Name -> microseconds of one inference `(rounds,)`.
    """
    repeats = {name: _repeats(runner, seconds) for name, runner in runners.items()}
    times = {variant: np.empty(rounds) for variant in runners}
    order = list(runners)
    for index in range(rounds):
        turn = index % len(order)
        for variant in order[turn:] + order[:turn]:
            invoke, count = runners[variant].invoke, repeats[variant]
            if warm:
                invoke()
            started = time.perf_counter_ns()
            for _ in range(count):
                invoke()
            elapsed = time.perf_counter_ns() - started
            times[variant][index] = elapsed / count / 1e3
    return times


def _repeats(runner: Any, seconds: float) -> int:
    started = time.perf_counter()
    runner.invoke()
    once = max(time.perf_counter() - started, 1e-7)
    return max(1, int(seconds / once))
