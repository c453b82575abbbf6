"""The demo: a ResNet becomes sparse and int8 while it trains, and runs faster.

Trains a small ResNet on Fashion-MNIST, then continues twice from there, for the
same number of steps: once dense in float, once with `PruneThenQuantize`. Exports
both to LiteRT, checks that our kernels compute what XNNPACK computes, bit for
bit, and measures them in turns on one core.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

# TensorFlow reads this when it is imported; 2 leaves warnings out, not errors.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import qsparse
from qsparse.callbacks import PruneThenQuantize
from qsparse.recipes import fashion_mnist
from qsparse.recipes.evaluate import Predictions, predict, to_float_file
from qsparse.recipes.plot import draw
from qsparse.recipes.resnet import resnet
from qsparse.tflite_export.bench import measure_interleaved, one_core
from qsparse.tflite_export.files.plain_text import plain
from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.runtime.cpu import cpu_name, xnnpack_isa, xnnpack_note
from qsparse.tflite_export.runtime.interpreter import (
    Interpreter,
    plain_interpreter,
    read_plan,
)

BATCH = 64
ROWS = {
    "float_dense": "float dense, XNNPACK",
    "int8_dense": "int8 dense, XNNPACK",
    "int8_sparse": "int8 sparse, qsparse",
}


def main(output: str | os.PathLike = "demo", quick: bool = False) -> int:
    """Runs the demo and writes its results.

    Args:
        output: folder for `report.json`, `results.png`, the three `.tflite` files
            and `sparse.keras`. Created if missing.
        quick: a tenth of the images and an epoch or two a phase: shows that all works,
            not how well.

    Returns:
        0 if our kernels were bit-exact with XNNPACK, else 1.
    """
    started = time.perf_counter()
    console = Console()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():  # TensorFlow looks for a GPU here, loudly
        keras.utils.set_random_seed(1)
        keras.ops.zeros(())
    (x, y), (x_test, y_test) = fashion_mnist.load_normalized()
    if quick:
        x, y = x[::10], y[::10]
    warm_up, finish = (1, 2) if quick else (3, 5)
    validation = (x_test[:200], y_test[:200]) if quick else (x_test, y_test)
    data = {"x": x, "y": y, "batch_size": BATCH, "validation_data": validation}

    console.rule("[bold]1/4  Train a dense ResNet in float")
    model = _compile(resnet(), warm_up, len(x))
    model.fit(epochs=warm_up, **data)
    start = folder / "start.weights.h5"
    model.save_weights(start)

    console.rule("[bold]2/4  Continue dense, for comparison")
    dense = _continue(start, finish, len(x))
    dense_history = dense.fit(epochs=finish, **data).history

    console.rule("[bold]3/4  Continue with PruneThenQuantize()")
    sparse = _continue(start, finish, len(x))
    callback = PruneThenQuantize()
    sparse_history = sparse.fit(epochs=finish, callbacks=[callback], **data).history
    start.unlink()
    console.print(str(callback.coverage), highlight=False)
    sparse.save(folder / "sparse.keras")

    console.rule("[bold]4/4  Export to LiteRT, check, measure")
    files = {name: folder / f"{name}.tflite" for name in ROWS}
    to_float_file(dense, files["float_dense"])
    qsparse.export(dense, files["int8_dense"], representative_data=x)
    exported = qsparse.export(sparse, files["int8_sparse"], representative_data=x)
    console.print(str(exported), highlight=False, markup=False)

    predictions = _predict_all(files, x_test)
    ours, stock = predictions["int8_sparse"], predictions["int8_sparse_xnnpack"]
    latency = _measure(files, rounds=20 if quick else 100)
    steps = (warm_up + finish) * -(-len(x) // BATCH)
    report = {
        "accuracy": {k: predictions[k].accuracy(y_test) for k in ROWS},
        "bit_exact_vs_xnnpack": bool(np.array_equal(ours.raw, stock.raw)),
        "bit_exact_images": len(x_test),
        "max_lsb_vs_keras": ours.max_lsb(sparse.predict(x_test, verbose=0)),
        "weight_sparsity": exported.sparsity,
        "int8_share_of_macs": exported.int8_share,
        "latency_us": latency["us"],
        "latency_ratio_vs_xnnpack": latency["ratio_vs_xnnpack"],
        "latency_ratio_vs_own_dense": latency["ratio_vs_own_dense"],
        "size_bytes": {k: path.stat().st_size for k, path in files.items()},
        "gzip_bytes": {"int8_sparse": exported.gzip_bytes},
        "training_steps": {"float_dense": steps, "int8_sparse": steps},
        "cpu": cpu_name(),
        "xnnpack_isa": xnnpack_isa(),
        "isa": sorted({d["isa"] for d in read_plan(files["int8_sparse"])} - {None}),
        "quick": quick,
    }
    picture = folder / "results.png"
    drawn = draw(picture, report, dense_history, sparse_history)
    report["seconds"] = time.perf_counter() - started
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    console.print(_table(report))
    console.print(xnnpack_note())
    console.print(_verdict(report), highlight=False)
    results = ["report.json", *([picture.name] if drawn else [])]
    where = f"Results are in {plain(folder)}/: {', '.join(results)}"
    console.print(where, style="dim", markup=False)
    return 0 if report["bit_exact_vs_xnnpack"] else 1


def _compile(model: keras.Model, epochs: int, images: int) -> keras.Model:
    steps = epochs * -(-images // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.1)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _continue(weights: Path, epochs: int, images: int) -> keras.Model:
    keras.utils.set_random_seed(2)
    model = resnet()
    model.load_weights(weights)
    return _compile(model, epochs, images)


def _predict_all(files: dict[str, Path], images: np.ndarray) -> dict[str, Predictions]:
    interpreters = {
        "float_dense": plain_interpreter(files["float_dense"]),
        "int8_dense": plain_interpreter(files["int8_dense"]),
        "int8_sparse": Interpreter(files["int8_sparse"]),
        "int8_sparse_xnnpack": plain_interpreter(files["int8_sparse"]),
    }
    return {name: predict(runner, images) for name, runner in interpreters.items()}


def _measure(files: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Times all files in turns on one core; ratios are the more modest of two."""
    with one_core(True):
        runners = {
            "float_dense": plain_interpreter(files["float_dense"]),
            "int8_dense": plain_interpreter(files["int8_dense"]),
            "own_dense": Interpreter(files["int8_sparse"], dense=True),
            "int8_sparse": Interpreter(files["int8_sparse"]),
        }
        for runner in runners.values():
            runner.allocate_tensors()
        times = measure_interleaved(runners, rounds)
    ours = times["int8_sparse"]

    def ratio(name: str) -> float:
        least = times[name].min() / ours.min()
        return float(min(least, np.median(times[name] / ours)))

    return {
        "us": {
            k: {"min": float(v.min()), "median": float(np.median(v))}
            for k, v in times.items()
        },
        "ratio_vs_xnnpack": ratio("int8_dense"),
        "ratio_vs_own_dense": ratio("own_dense"),
    }


def _table(report: dict[str, Any]) -> Table:
    steps = report["training_steps"]["int8_sparse"]
    table = Table(
        title="Fashion-MNIST, 2,000 test images",
        caption=f"{report['cpu']}, one core, batch 1; least of interleaved rounds. "
        f"Every model had {steps:,} training steps.",
    )
    table.add_column("model")
    for name in ("accuracy", "file", "latency", "against int8 XNNPACK"):
        table.add_column(name, justify="right")
    latency = report["latency_us"]
    base = latency["int8_dense"]["min"]
    for key, name in ROWS.items():
        ratio = base / latency[key]["min"]
        if key == "int8_sparse":
            ratio = report["latency_ratio_vs_xnnpack"]
        table.add_row(
            name,
            f"{report['accuracy'][key]:.2%}",
            f"{report['size_bytes'][key] / 1e3:,.0f} kB",
            f"{latency[key]['min']:,.0f} us",
            f"{ratio:.2f}x",
        )
    return table


def _verdict(report: dict[str, Any]) -> str:
    exact = "bit-exact with" if report["bit_exact_vs_xnnpack"] else "NOT EQUAL to"
    lost = report["accuracy"]["float_dense"] - report["accuracy"]["int8_sparse"]
    return (
        f"{report['weight_sparsity']:.0%} of the weights are zero. The sparse file is "
        f"{exact} XNNPACK on {report['bit_exact_images']:,} images, at most "
        f"{report['max_lsb_vs_keras']} LSB from Keras, and "
        f"{report['latency_ratio_vs_xnnpack']:.2f}x as fast as dense int8, for "
        f"{100 * lost:+.2f} points of accuracy lost."
    )
