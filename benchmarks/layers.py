"""`make bench`: two layers, from Keras to the benchmark, on this machine."""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from qsparse.tflite_export.bench import benchmark
from qsparse.tflite_export.files.terminal import SafeConsole
from qsparse.tflite_export.report.tables import bench_table

_SPARSITY = 0.75
_BLOCK = (4, 4)


@dataclass(frozen=True)
class Case:
    """One layer to measure.

    Attributes:
        name: of the file, without .tflite.
        text: what it is.
        input_shape: shape of its input, without the batch.
    """

    name: str
    text: str
    input_shape: tuple[int, ...]


CASES = (
    Case("fc", "fully connected 128x768 -> 128x768", (128, 768)),
    Case("conv", "3x3 convolution 14x14x256 -> 14x14x256", (14, 14, 256)),
)


def main(arguments: list[str] | None = None) -> int:
    """Exports, measures and prints; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="bench", help="folder for the results")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args(arguments)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    reports = []
    for case in CASES:
        path = folder / f"{case.name}.tflite"
        _export(case, path)
        reports.append(
            benchmark(
                path, name=case.text, threads=options.threads, rounds=options.rounds
            )
        )
    rows = [
        {"file": f"{case.name}.tflite", "sparsity": _SPARSITY} | report.to_dict()
        for case, report in zip(CASES, reports, strict=True)
    ]
    (folder / "layers.json").write_text(json.dumps(rows, indent=2) + "\n")
    title = f"4x4 blocks, {_SPARSITY:.0%} zeros"
    SafeConsole().print(bench_table(reports, title))
    return 0


def _export(case: Case, path: Path) -> None:
    """Writes a layer with random weights, three of four blocks zero, through Keras."""
    # Imported here: TensorFlow takes seconds, and `--help` should not.
    import keras
    import numpy as np

    from qsparse.tflite_export.export import export

    rng = np.random.default_rng(0)
    layer: keras.layers.Layer
    if case.name == "fc":
        layer = keras.layers.Dense(case.input_shape[-1])
    else:
        layer = keras.layers.Conv2D(case.input_shape[-1], 3, padding="same")
    model = keras.Sequential([keras.Input(case.input_shape), layer])
    kernel, bias = layer.get_weights()
    tiles = (*kernel.shape[:-2], kernel.shape[-2] // 4, kernel.shape[-1] // 4)
    keep = rng.permuted(
        np.arange(int(np.prod(tiles))) >= _SPARSITY * np.prod(tiles)
    ).reshape(tiles)
    mask = keep.repeat(_BLOCK[1], axis=-2).repeat(_BLOCK[0], axis=-1)
    layer.set_weights([kernel * mask, rng.normal(size=bias.shape) * 0.1])
    data = rng.normal(size=(4, *case.input_shape)).astype(np.float32)
    export(model, path, data)


if __name__ == "__main__":
    sys.exit(main())
