"""`make bench-models`: whole networks with 4x4 masks, stock LiteRT against ours."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.split import split
from benchmarks.tables import TABLE_WIDTH, model_table
from qsparse.tflite_export.bench import measure_interleaved, one_core
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CLAIMABLE
from qsparse.tflite_export.runtime.cpu import cpu_name
from qsparse.tflite_export.runtime.everywhere import Sample, stored_samples
from qsparse.tflite_export.runtime.interpreter import (
    Interpreter,
    plain_interpreter,
    read_plan,
)

NETWORKS = ("resnet50", "vit_b16", "minilm")
_LEAST_VALUES = 9  # fewer different outputs would make "bit-exact" mean nothing


def main(arguments: list[str] | None = None) -> int:
    """Exports what is not in the cache, measures and prints; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="bench/models.json", help="the rows")
    parser.add_argument("--cache", default="bench/cache", help="folder of the files")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args(arguments)
    path, cache = Path(options.output), Path(options.cache)
    for folder in (path.parent, cache):
        folder.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [row for row in kept if row["network"] not in options.networks]
    rows = []
    for network in options.networks:
        rows.append(
            {"network": network} | measure(_file(network, cache), options.rounds)
        )
        path.write_text(json.dumps(kept + rows, indent=1) + "\n")
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(model_table(rows))
    return 0 if all(row["bit_exact"] for row in rows) else 1


def measure(path: Path, rounds: int) -> dict[str, Any]:
    """Measures a file on one pinned core and on two threads, and splits its time.

    Args:
        path: a .tflite file; the .npz beside it holds inputs, by name.
        rounds: number of turns.
    """
    content = path.read_bytes()
    samples = samples_of(ModelFile(content), path.with_suffix(".npz"))
    layers = [entry for entry in read_plan(content) if entry["op"] in CLAIMABLE]
    row: dict[str, Any] = {
        "machine": cpu_name(),
        "layers": len(layers),
        "claimed": sum(entry["claimed"] for entry in layers),
    }
    with one_core(True):
        runners = {
            "xnnpack": plain_interpreter(content),
            "own_dense": Interpreter(content, dense=True),
            "own": Interpreter(content),
        }
        exact = agree(runners, samples)
        times = measure_interleaved(runners, rounds, warm=True)
        least = _least(times)
        row |= {f"{name}_us": least[name] for name in runners} | {
            "ratio_xnnpack": least["xnnpack"] / least["own"],
            "ratio_xnnpack_median": float(np.median(times["xnnpack"] / times["own"])),
            "ratio_own_dense": least["own_dense"] / least["own"],
        }
        row["split"] = split(content, rounds).to_dict()
    runners = {
        "xnnpack_2": plain_interpreter(content, 2),
        "own": Interpreter(content),
        "own_2": Interpreter(content, 2),
        # Ours on two threads, XNNPACK's part on one.
        "own_2_1": Interpreter(content, 1, threads=2),
    }
    exact &= agree(runners, samples)
    times = measure_interleaved(runners, rounds, warm=True)
    least = _least(times)
    row["two_threads"] = {f"{name}_us": least[name] for name in runners} | {
        "ratio_xnnpack": least["xnnpack_2"] / least["own_2"],
        "scaling": least["own"] / least["own_2"],
        "scaling_median": float(np.median(times["own"] / times["own_2"])),
        "scaling_only_ours": least["own"] / least["own_2_1"],
    }
    return row | {"bit_exact": exact}


def _file(network: str, cache: Path) -> Path:
    """Returns the network's file; makes it where it is not there yet."""
    path = cache / f"{network}.tflite"
    if not (path.exists() and path.with_suffix(".npz").exists()):
        print(f"exporting {network}; this takes a minute or two", file=sys.stderr)
        # A process apart: TensorFlow does not give its gigabytes back.
        module = "benchmarks.networks"
        subprocess.run([sys.executable, "-m", module, network, str(path)], check=True)
    return path


def samples_of(file: ModelFile, path: Path) -> list[Sample]:
    """Returns the inputs that were saved beside a file.

    Args:
        file: the file.
        path: the .npz, by name of the input.
    """
    with np.load(path) as saved:
        return stored_samples(file, {name: saved[name] for name in saved.files})


def agree(runners: dict[str, Any], samples: list[Sample]) -> bool:
    """Allocates interpreters and runs them.

    Args:
        runners: name -> interpreter of one and the same file.
        samples: as `samples_of` returns them.

    Returns:
        Whether all give the same outputs, and outputs that vary.
    """
    for runner in runners.values():
        runner.allocate_tensors()
    agreed = True
    for sample in samples:
        results = []
        for runner in runners.values():
            for index, value in sample.items():
                runner.set_tensor(index, value)
            runner.invoke()
            results.append(
                [runner.get_tensor(d["index"]) for d in runner.get_output_details()]
            )
        agreed &= all(np.unique(output).size >= _LEAST_VALUES for output in results[0])
        agreed &= all(
            np.array_equal(ours, theirs)
            for result in results[1:]
            for ours, theirs in zip(result, results[0], strict=True)
        )
    return bool(agreed)


def _least(times: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values.min()) for name, values in times.items()}


if __name__ == "__main__":
    sys.exit(main())
