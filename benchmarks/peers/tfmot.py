"""TFMOT on the demo's ResNet, in `tf_keras`: what a step costs, and what it reaches.

Runs in an environment of its own, without qsparse: TFMOT knows Keras 2 only.

    python tfmot.py steps IMAGES.npz OUT.json
    python tfmot.py accuracy IMAGES.npz ROWS.jsonl --seeds 3

`m_by_n` of TFMOT counts zeros; (2, 4) is 2:4 in both ways of counting. Its blocks are
for matrices only, so that convolutions have 2:4 and unstructured masks to offer.
"""

import argparse
import fcntl
import json
import os
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tf_keras import layers

BATCH, WARM_UP, FINISH = 64, 3, 5
# Long enough that no phase ends while steps are measured.
_TRAINING = 100_000
_EVERY = 50
# The width of the ResNet in `qsparse study baselines`.
_STUDIED = (32, 64)
PLAIN = "plain"
Row = dict[str, Any]
Images = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def resnet(widths: tuple[int, int] = (96, 192)) -> Any:
    """Returns the network of `qsparse.recipes.resnet`, layer by layer."""

    def convolve(x: Any, filters: int, size: int, stride: int, name: str) -> Any:
        x = layers.Conv2D(
            filters, size, strides=stride, padding="same", use_bias=False, name=name
        )(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)

    def unit(x: Any, width: int, stride: int, name: str) -> Any:
        shortcut = x
        if stride != 1 or x.shape[-1] != width:
            shortcut = convolve(x, width, 1, stride, f"{name}_shortcut")
        x = convolve(x, width, 3, stride, f"{name}_conv1")
        x = layers.ReLU(name=f"{name}_relu1")(x)
        x = convolve(x, width, 3, 1, f"{name}_conv2")
        x = layers.Add(name=f"{name}_add")([x, shortcut])
        return layers.ReLU(name=f"{name}_relu2")(x)

    inputs = tf_keras.Input((28, 28, 1), name="images")
    x = convolve(inputs, widths[0] // 2, 3, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    x = unit(x, widths[0], 1, "unit1")
    x = unit(x, widths[1], 2, "unit2")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return tf_keras.Model(inputs, layers.Dense(10, name="logits")(x), name="resnet")


def compiled(model: Any, steps: int = _TRAINING) -> Any:
    """Compiles a model as the demo does, and returns it."""
    rate = tf_keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.1)
    model.compile(
        tf_keras.optimizers.AdamW(rate, weight_decay=1e-3),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def pruned(
    model: Any, pattern: str, begin: int, end: int, every: int
) -> tuple[Any, list[Any]]:
    """Returns a model that TFMOT prunes, and the callbacks it needs.

    Args:
        model: a plain model.
        pattern: "2:4", or as "75%".
        begin: first step of pruning.
        end: last step of it.
        every: steps between two selections.
    """
    sparsity = tfmot.sparsity.keras
    if pattern == "2:4":
        schedule = sparsity.ConstantSparsity(0.5, begin, frequency=every)
        wrapped = sparsity.prune_low_magnitude(model, schedule, sparsity_m_by_n=(2, 4))
    else:
        final = float(pattern.rstrip("%")) / 100
        schedule = sparsity.PolynomialDecay(0.0, final, begin, end, frequency=every)
        wrapped = sparsity.prune_low_magnitude(model, schedule)
    return wrapped, [sparsity.UpdatePruningStep()]


def quantized(model: Any, keeps_zeros: bool) -> Any:
    """Returns a model that trains with TFMOT's fake quantization."""
    quantization = tfmot.quantization.keras
    if not keeps_zeros:
        return quantization.quantize_model(model)
    annotated = quantization.quantize_annotate_model(model)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    return quantization.quantize_apply(annotated, scheme)


def stripped(model: Any) -> Any:
    """Returns a plain model with the zeros baked in."""
    return tfmot.sparsity.keras.strip_pruning(model)


def trainees() -> dict[str, tuple[Any, list[Any]]]:
    """Returns method -> (compiled model, callbacks)."""

    def prune(pattern: str) -> tuple[Any, list[Any]]:
        model, callbacks = pruned(resnet(), pattern, 0, _TRAINING // 2, _EVERY)
        return compiled(model), callbacks

    def pqat() -> tuple[Any, list[Any]]:
        model, callbacks = pruned(resnet(), "75%", 0, 1, 1)
        model = compiled(model)
        images = np.zeros((BATCH, 28, 28, 1), "float32")
        labels = np.zeros(BATCH, "int64")
        model.fit(images, labels, verbose=0, callbacks=callbacks)
        return compiled(quantized(stripped(model), keeps_zeros=True)), []

    return {
        PLAIN: (compiled(resnet()), []),
        "prune 2:4": prune("2:4"),
        "prune 75% polynomial": prune("75%"),
        "quantize": (compiled(quantized(resnet(), keeps_zeros=False)), []),
        "prune, then quantize": pqat(),
    }


class Clock(tf_keras.callbacks.Callback):
    """Times a turn but for its first step; it is listed before what it times."""

    begin = end = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Notes when the second step begins."""
        if batch == 1:
            self.begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Notes the end; `fit` has the weights and the mean loss by now."""
        self.end = time.perf_counter()


def measure(
    x: np.ndarray, y: np.ndarray, turns: int, steps: int, warm_up: int
) -> list[Row]:
    """Trains with every method in turns, as `benchmarks.training` does."""
    x, y = x[: BATCH * (steps + 1)], y[: BATCH * (steps + 1)]
    models = trainees()
    seconds: dict[str, list[float]] = {method: [] for method in models}
    for turn in range(-warm_up, turns):
        order = list(models)
        first = turn % len(order)  # Nobody is always behind the same one.
        for method in order[first:] + order[:first]:
            model, callbacks = models[method]
            clock = Clock()
            model.fit(
                x,
                y,
                batch_size=BATCH,
                shuffle=False,
                verbose=0,
                callbacks=[clock, *callbacks],
            )
            if turn >= 0:
                seconds[method].append((clock.end - clock.begin) / steps)
        print(f"tfmot: turn {turn + 1} of {turns}", file=sys.stderr)
    plain = seconds[PLAIN]
    return [
        {
            "network": "demo",
            "method": f"tfmot {method}",
            "step_ratio": statistics.median(
                ours / theirs for ours, theirs in zip(found, plain, strict=True)
            ),
            "min_ratio": min(found) / min(plain),
            "seconds": statistics.median(found),
            "min_seconds": min(found),
            "steps": steps * turns,
            "backend": f"tf_keras {tf_keras.__version__}",
            "cpu": _cpu(),
        }
        for method, found in seconds.items()
    ]


def reach(images: Images, pattern: str, seed: int) -> Row:
    """Trains dense, prunes, and quantizes with the zeros kept; returns a row.

    As long as in `qsparse study baselines`: 3 epochs dense, then 5, of which the second
    half is quantized.
    """
    start = time.perf_counter()
    x, y, x_test, y_test = images
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(seed)
    each = -(-len(x) // BATCH)
    model = compiled(resnet(_STUDIED), WARM_UP * each)
    model.fit(x, y, BATCH, WARM_UP, verbose=0)
    steps = FINISH * each
    # Quarters of epochs cannot be had of `fit`; whole ones, more of them pruning.
    pruning = -(-FINISH // 2)
    model, callbacks = pruned(model, pattern, 0, steps // 2, max(1, steps // 100))
    rest = (FINISH - pruning) * each
    compiled(model, steps).fit(x, y, BATCH, pruning, verbose=0, callbacks=callbacks)
    left = float(model.optimizer.learning_rate.numpy())
    model = quantized(stripped(model), keeps_zeros=True)
    rate = tf_keras.optimizers.schedules.CosineDecay(left, rest, alpha=2e-4 / left)
    model.compile(
        tf_keras.optimizers.AdamW(rate, weight_decay=1e-3),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x, y, BATCH, FINISH - pruning, verbose=0)
    logits = model.predict(x_test, 200, verbose=0)
    return {
        "name": f"resnet/tfmot/{pattern}/int8/{seed}",
        "keras_accuracy": float((logits.argmax(axis=1) == y_test).mean()),
        "zeros": _zeros(model),
        "steps": (WARM_UP + FINISH) * each,
        "accuracy": _of_file(model, x_test, y_test),
        "seconds": round(time.perf_counter() - start, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": f"TFMOT {tfmot.__version__}",
        "cpu": _cpu(),
        "keras": f"tf_keras {tf_keras.__version__}",
    }


def _zeros(model: Any) -> float:
    kernels = [v for v in model.variables if "kernel" in v.name and v.shape.rank > 1]
    kernels = [v.numpy() for v in kernels if not v.name.endswith(("min:0", "max:0"))]
    return 1 - sum(map(np.count_nonzero, kernels)) / sum(k.size for k in kernels)


def _of_file(model: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the accuracy of the converted int8 file, run by TensorFlow Lite."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    runner = tf.lite.Interpreter(model_content=converter.convert())
    runner.allocate_tensors()
    (entry,), (exit_,) = runner.get_input_details(), runner.get_output_details()
    right = 0
    for image, label in zip(images, labels, strict=True):
        runner.set_tensor(entry["index"], image[np.newaxis])
        runner.invoke()
        right += int(runner.get_tensor(exit_["index"])[0].argmax() == label)
    return right / len(labels)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":", 1)[1].strip() for x in lines if "model name" in x), "?")


def _images(path: Path) -> Images:
    with np.load(path, allow_pickle=False) as data:
        x, x_test = (
            data[name][..., np.newaxis].astype(np.float32) / 255.0
            for name in ("x_train", "x_test")
        )
        return x, data["y_train"].astype(int), x_test, data["y_test"].astype(int)


def main() -> None:
    """Measures, and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["steps", "accuracy"])
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="measured, per turn")
    parser.add_argument("--warm-up", type=int, default=3, help="turns")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    images = _images(options.images)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.what == "steps":
        rows = measure(*images[:2], options.turns, options.steps, options.warm_up)
        options.output.write_text(json.dumps(rows, indent=2) + "\n")
        for row in rows:
            print(f"{row['method']:28} {row['step_ratio']:6.3f}x median")
        return
    done = options.output.read_text() if options.output.exists() else ""
    for seed in range(options.seeds):
        for pattern in ("2:4", "80%", "90%"):
            if f'"resnet/tfmot/{pattern}/int8/{seed}"' in done:
                continue
            row = reach(images, pattern, seed)
            with options.output.open("a") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                stream.write(json.dumps(row) + "\n")
            print(f"{row['name']}: {row['accuracy']:.2%}", file=sys.stderr)


if __name__ == "__main__":
    main()
