"""`make bench-training`: what a step of `fit`, and its memory, cost with each callback.

All models of a network are alive at once and train in turns, a few steps each, so
that a busy moment of the machine meets all of them. A turn is timed from the begin of
its second step to its end, when the device has done all of them, with everything that
happens in `fit` meanwhile. After each turn all masks are selected once more, at half of
the pruning phase, and that is timed by itself.

Memory is the peak of a process that trains one model, with all that it has loaded,
against that of a process with the plain model.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks.memory import peak_bytes
from qsparse.callbacks import Compress, Joint, Prune, PruneThenQuantize, Quantize
from qsparse.engine.compressor import compressed_layers, state_of
from qsparse.engine.selection import Moment, Selector
from qsparse.recipes import fashion_mnist
from qsparse.recipes.resnet import resnet

PLAIN = "plain"
# Long enough that no phase ends while we measure.
_TRAINING = 100_000
_PRUNES = {"prune_from": 0, "prune_until": _TRAINING // 2, "update_every": 50}
METHODS: dict[str, Callable[[], Compress | None]] = {
    PLAIN: lambda: None,
    "prune 2:4 sr-ste": lambda: Prune(
        "2:4", estimator="sr-ste", **_PRUNES, total_steps=_TRAINING
    ),
    "prune 4x4 cubic": lambda: Prune("4x4", **_PRUNES, total_steps=_TRAINING),
    "quantize": lambda: Quantize(quantize_from=0, total_steps=_TRAINING),
    # Its second phase: sparse, masks at rest, quantized.
    "prune, then quantize": lambda: PruneThenQuantize(
        "4x4", prune_from=0, prune_until=1, quantize_from=2, total_steps=_TRAINING
    ),
    "joint": lambda: Joint("4x4", **_PRUNES, total_steps=_TRAINING),
    "rigl": lambda: Prune(
        "unstructured",
        0.9,
        schedule="constant",
        estimator="ste",
        regrowth="rigl",
        **_PRUNES,
        total_steps=_TRAINING,
    ),
}
_TOKENS = 32


class Clock(keras.callbacks.Callback):
    """Times a turn but for its first step; it is listed before what it times."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = self.end = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Notes when the second step begins."""
        if batch == 1:
            self.begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the end; `fit` has the weights and the mean loss by now."""
        self.end = time.perf_counter()


class Trainee:
    """A model that trains in turns, with one callback for all of them.

    Args:
        make: makes the compiled model.
        data: a batch for every step of a turn.
        batch: rows of one batch.
        steps: how many of a turn are timed.
        callback: of `qsparse.callbacks`, or None.
    """

    def __init__(
        self,
        make: Callable[[], keras.Model],
        data: Any,
        batch: int,
        steps: int,
        callback: Any,
    ) -> None:
        keras.utils.set_random_seed(1)
        self._model, self._data, self._batch = make(), data, batch
        self._steps = steps
        self._callbacks = [] if callback is None else [callback]
        # Of one step, and of selecting all masks, by turn.
        self.seconds: list[float] = []
        self.selections: list[float] = []

    def turn(self, measured: bool) -> None:
        """Trains on all batches; the first step warms the caches and is left out."""
        clock = Clock()
        self._model.fit(
            *self._data,
            batch_size=self._batch,
            shuffle=False,
            verbose=0,
            callbacks=[clock, *self._callbacks],
        )
        selection = self._select()
        if measured:
            self.seconds.append((clock.end - clock.begin) / self._steps)
            self.selections.append(selection)

    def pruned_weights(self) -> int:
        """Returns how many weights lie in layers with a mask."""
        layers = [c for c in compressed_layers(self._model) if c.pattern is not None]
        return sum(int(np.prod(layer.layout.shape)) for layer in layers)

    def _select(self) -> float:
        """Selects all masks; returns the seconds that takes, 0 without masks."""
        state = state_of(self._model)
        layers = [c for c in compressed_layers(self._model) if c.pattern is not None]
        if state is None or not layers:
            return 0.0
        moment = Moment(_TRAINING // 4, 0, _TRAINING // 2)
        start = time.perf_counter()
        Selector(self._model, state).select(layers, moment)
        return time.perf_counter() - start


def demo(steps: int) -> tuple[Callable[[], keras.Model], Any, int]:
    """Returns the demo's ResNet, its optimizer and batches of Fashion-MNIST."""
    batch = 64

    def make() -> keras.Model:
        model = resnet()
        model.compile(
            keras.optimizers.AdamW(2e-3, weight_decay=1e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        return model

    (x, y), _ = fashion_mnist.load_normalized()
    return make, (x[: batch * steps], y[: batch * steps]), batch


def minilm(steps: int) -> tuple[Callable[[], keras.Model], Any, int]:
    """Returns a classifier on MiniLM; weights and sentences are random.

    What a step costs depends on neither. Needs keras-hub.
    """
    from qsparse.recipes.minilm import ExactGeluBert, token_inputs

    batch = 4

    def make() -> keras.Model:
        backbone = ExactGeluBert(
            vocabulary_size=30522,
            num_layers=6,
            num_heads=12,
            hidden_dim=384,
            intermediate_dim=1536,
            max_sequence_length=_TOKENS,
        )
        inputs = token_inputs(_TOKENS)
        pooled = backbone(inputs)["pooled_output"]
        model = keras.Model(inputs, keras.layers.Dense(2, name="head")(pooled))
        model.compile(
            keras.optimizers.Adam(1e-5),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    random, rows = np.random.default_rng(1), batch * steps
    tokens = random.integers(1000, 30522, (rows, _TOKENS)).astype(np.int32)
    x = {
        "token_ids": tokens,
        "segment_ids": np.zeros_like(tokens),
        "padding_mask": np.ones_like(tokens),
    }
    return make, (x, random.integers(0, 2, rows)), batch


def vit_tiny(steps: int) -> tuple[Callable[[], keras.Model], Any, int]:
    """Returns a ViT of 1.8 million weights and batches of Fashion-MNIST.

    Needs keras-hub.
    """
    from qsparse.recipes.vit import vit

    batch = 32

    def make() -> keras.Model:
        model = vit()
        model.compile(
            keras.optimizers.AdamW(1e-3, weight_decay=1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    (x, y), _ = fashion_mnist.load_normalized()
    return make, (x[: batch * steps], y[: batch * steps]), batch


NETWORKS = {"demo": demo, "vit-tiny": vit_tiny, "minilm": minilm}


def measure(network: str, turns: int, steps: int, warm_up: int) -> list[dict]:
    """Trains a network with every method, in turns.

    Args:
        network: a name of `NETWORKS`.
        turns: measured turns of each model.
        steps: measured steps of a turn.
        warm_up: turns before the measured ones.

    Returns:
        One row a method. `step_ratio` is the median, over turns, of the step against
        the plain model's in the same turn; `min_ratio` compares the shortest turns,
        `mean_ratio` all of them together, mask selections among them.
        `mask_update_ms_per_mweight` is the shortest selection of all masks, in
        milliseconds for a million pruned weights.
    """
    make, data, batch = NETWORKS[network](steps + 1)
    trainees = {
        method: Trainee(make, data, batch, steps, callback())
        for method, callback in METHODS.items()
    }
    for turn in range(-warm_up, turns):
        order = list(trainees.values())
        first = turn % len(order)  # Nobody is always behind the same one.
        for trainee in order[first:] + order[:first]:
            trainee.turn(measured=turn >= 0)
        print(f"{network}: turn {turn + 1} of {turns}", file=sys.stderr)
    plain = trainees[PLAIN]
    return [
        {
            "network": network,
            "method": method,
            "step_ratio": _ratio(trainee, plain),
            "min_ratio": min(trainee.seconds) / min(plain.seconds),
            "mean_ratio": sum(trainee.seconds) / sum(plain.seconds),
            "seconds": statistics.median(trainee.seconds),
            "min_seconds": min(trainee.seconds),
            "mask_update_ms_per_mweight": _selection_cost(trainee),
            "steps": steps * turns,
            "backend": keras.backend.backend(),
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
        }
        for method, trainee in trainees.items()
    ]


def _selection_cost(trainee: Trainee) -> float | None:
    weights = trainee.pruned_weights()
    return 1e9 * min(trainee.selections) / weights if weights else None


def peak_memory(network: str, method: str, steps: int) -> int:
    """Returns the peak of a process that trains a network for two turns, in bytes."""
    arguments = ["--peak", network, method, "--steps", str(steps)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(run.stdout.splitlines()[-1])


def _train_and_tell(network: str, method: str, steps: int) -> None:
    make, data, batch = NETWORKS[network](steps + 1)
    trainee = Trainee(make, data, batch, steps, METHODS[method]())
    for _ in range(2):
        trainee.turn(measured=False)
    print(peak_bytes())


def _ratio(trainee: Trainee, plain: Trainee) -> float:
    pairs = zip(trainee.seconds, plain.seconds, strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def cpu_name() -> str:
    """Returns the model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def main(arguments: list[str] | None = None) -> int:
    """Measures, print and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("bench/training.json"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="measured, per turn")
    parser.add_argument("--warm-up", type=int, default=3, help="turns")
    parser.add_argument("--no-memory", action="store_true", help="steps only")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak:
        network, method = options.peak
        _train_and_tell(network, method, options.steps)
        return 0
    rows: list[dict] = []
    for network in options.networks:
        rows += measure(network, options.turns, options.steps, options.warm_up)
        keras.backend.clear_session()
    for row in [] if options.no_memory else rows:
        row["peak_bytes"] = peak_memory(row["network"], row["method"], options.steps)
        plain = next(r for r in rows if r["network"] == row["network"])
        row["peak_memory_ratio"] = row["peak_bytes"] / plain["peak_bytes"]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['network']:8} {row['method']:20} {row['step_ratio']:6.3f}x median "
            f"{row['min_ratio']:6.3f}x min {row['mean_ratio']:6.3f}x mean "
            f"{1e3 * row['seconds']:8.1f} ms  masks "
            f"{row['mask_update_ms_per_mweight'] or 0:6.1f} ms/M  memory "
            f"{row.get('peak_memory_ratio', 0):6.3f}x"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
