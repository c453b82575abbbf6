"""`make bench-training`: what a step of `fit` costs with each callback.

All models of a network are alive at once and train in turns, a few steps each, so
that a busy moment of the machine meets all of them. A turn is timed from the begin of
its second step to its end, when the device has done all of them, with everything that
happens in `fit` meanwhile.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from qsparse.callbacks import Compress, Joint, Prune, Quantize
from qsparse.recipes import fashion_mnist
from qsparse.recipes.resnet import resnet

PLAIN = "plain"
# Long enough that no phase ends while we measure.
_TRAINING = 100_000
_PRUNES = {"prune_from": 0, "prune_until": _TRAINING // 2, "update_every": 50}
METHODS: dict[str, Callable[[], Compress | None]] = {
    PLAIN: lambda: None,
    "pruning": lambda: Prune(**_PRUNES, total_steps=_TRAINING),
    "qat": lambda: Quantize(quantize_from=0, total_steps=_TRAINING),
    "pruning+qat": lambda: Joint(**_PRUNES, quantize_from=0, total_steps=_TRAINING),
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
        # Of one step, by turn.
        self.seconds: list[float] = []

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
        if measured:
            self.seconds.append((clock.end - clock.begin) / self._steps)


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


NETWORKS = {"demo": demo, "minilm": minilm}


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
            "steps": steps * turns,
            "backend": keras.backend.backend(),
            "cpu": cpu_name(),
            "cores": len(os.sched_getaffinity(0)),
        }
        for method, trainee in trainees.items()
    ]


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
    options = parser.parse_args(arguments)
    rows: list[dict] = []
    for network in options.networks:
        rows += measure(network, options.turns, options.steps, options.warm_up)
        keras.backend.clear_session()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['network']:8} {row['method']:12} {row['step_ratio']:6.3f}x median "
            f"{row['min_ratio']:6.3f}x min {row['mean_ratio']:6.3f}x mean "
            f"{1e3 * row['seconds']:8.1f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
