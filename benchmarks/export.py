"""`make bench-export`: whole networks exported, checked in every runtime, tabled."""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export_table import to_markdown
from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CLAIMABLE
from qsparse.tflite_export.packing import pack
from qsparse.tflite_export.runtime.everywhere import run_everywhere, stored_samples

NETWORKS = ("resnet50", "vit_b16", "minilm", "mobilenet_v2", "efficientnet_lite0")
# Seconds and bytes of a plain post-training conversion of networks of these shapes
# (TensorFlow 2.21, one core, random weights), measured once, before this project;
# EfficientNet-Lite0 was not among them.
_BEFORE = {
    "resnet50": (21.5, 2.32e9),
    "vit_b16": (92.4, 5.13e9),
    "minilm": (24.8, 1.72e9),
    "mobilenet_v2": (10.2, 1.22e9),
}
_MEASURED = ("minilm", "efficientnet_lite0")  # on real inputs


def main(arguments: list[str] | None = None) -> int:
    """Exports, measures and writes the rows; returns the exit code.

    Args:
        arguments: command line without the program; None takes `sys.argv`.

    Returns:
        0 if all runtimes agree, and ours with them, bit for bit; else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="bench/export.json", help="the rows")
    parser.add_argument("--table", help="where to write the table; prints it if absent")
    parser.add_argument("--cache", default="bench/export", help="folder of the files")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    options = parser.parse_args(arguments)
    path, cache = Path(options.output), Path(options.cache)
    for folder in (path.parent, cache):
        folder.mkdir(parents=True, exist_ok=True)
    rows = json.loads(path.read_text()) if path.exists() else []
    for network in options.networks:
        print(f"exporting {network}", file=sys.stderr)
        row = {"network": network} | _export(network, cache / f"{network}.tflite")
        if network in _MEASURED:
            row["accuracy"] = _accuracy(network, cache)
        rows = [old for old in rows if old["network"] != network] + [row]
        rows.sort(key=lambda row: NETWORKS.index(row["network"]))
        path.write_text(json.dumps(rows, indent=1) + "\n")
    table = to_markdown(rows)
    if options.table:
        Path(options.table).write_text(table)
    else:
        print(table)
    return 0 if all(row["runtimes_agree"] for row in rows) else 1


def _export(network: str, path: Path) -> dict[str, Any]:
    """Exports a network in a process of its own, and looks at the file."""
    # Its greatest memory is the export's: nothing else ran before.
    export_network(network, path)
    # TensorFlow adds in another order without oneDNN: the same graph, twice.
    export_network(network, path, "--forward", TF_ENABLE_ONEDNN_OPTS="0")
    export_network(network, path, "--verify")
    report = json.loads(path.with_suffix(".json").read_text())
    verified = json.loads(path.with_suffix(".verify.json").read_text())
    before = _BEFORE.get(network, (None, None))
    return {
        "seconds": report["seconds"],
        "seconds_before": before[0],
        "peak_bytes": report["peak_bytes"],
        "peak_bytes_before": before[1],
        "max_lsb": report["parity"]["max_lsb"],
        "mean_lsb": report["parity"]["mean_lsb"],
        "off_by_more_than_1": report["parity"]["off_by_more"],
        "op_by_op": verified,
        "int8_share": report["int8_share"],
        "float_ops_with_macs": report["float_ops"],
        "ranges": report["ranges"],
    } | _look(path)


def export_network(network: str, path: Path, *options: str, **changed: str) -> None:
    """Runs `benchmarks.export_networks` in a process of its own.

    Args:
        network: one of `NETWORKS`.
        path: the file it writes, or wrote; its samples lie beside it.
        *options: of its command line.
        **changed: variables of its environment.
    """
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.export_networks",
            network,
            str(path),
            *options,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **changed},
    )


def _accuracy(network: str, cache: Path) -> dict[str, Any]:
    """Measures a network on real inputs, in a process of its own."""
    print(f"measuring the accuracy of {network}", file=sys.stderr)
    result = cache / f"{network}.accuracy.json"
    command = [sys.executable, "-m", "benchmarks.export_accuracy", network]
    subprocess.run(
        [*command, str(cache), str(result)],
        check=True,
        stdout=sys.stderr,
        stderr=subprocess.DEVNULL,
    )
    return json.loads(result.read_text())


def _look(path: Path) -> dict[str, Any]:
    """Returns what a file itself tells, and what the runtimes make of it."""
    content = path.read_bytes()
    file = ModelFile(content)
    macs = sum(op.macs for op in file.ops)
    claimable = sum(op.macs for op, _ in file.int8_layers() if op.name in CLAIMABLE)
    with tempfile.TemporaryDirectory() as folder:
        packed = pack(path, Path(folder) / "model.qsp").packed_bytes
    with np.load(path.with_suffix(".npz")) as saved:
        samples = stored_samples(file, {name: saved[name] for name in saved.files})
    found = run_everywhere(content, samples)
    wanted = found["litert"]
    if isinstance(wanted, str):
        raise RuntimeError(f"LiteRT cannot run {path}: {wanted}")
    differences = {
        name: outputs if isinstance(outputs, str) else _difference(outputs, wanted)
        for name, outputs in found.items()
    }
    same = {
        name: isinstance(found, dict) and found["values"] == 0
        for name, found in differences.items()
    }
    return {
        "macs": macs,
        "claimable_share": claimable / macs,
        "ops": Counter(f"{op.name} {op.outputs[0].dtype}" for op in file.ops),
        "raw_bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9)),
        "packed_bytes": packed,
        "difference_from_litert": differences,
        # Built-in kernels round in ways of their own, whatever the file.
        "runtimes_agree": all(same[name] for name in same if name != "builtin"),
        "different_outputs": int(np.unique(np.stack([o[0] for o in wanted])).size),
    }


def _difference(outputs: list, wanted: list) -> dict[str, float]:
    """Returns how many values differ from stock LiteRT's, and by how many steps."""
    flat = [
        np.abs(a.astype(np.int32) - b.astype(np.int32)).ravel()
        for ours, theirs in zip(outputs, wanted, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    steps = np.concatenate(flat)
    return {
        "values": int(np.count_nonzero(steps)),
        "max_lsb": int(steps.max()),
        "off_by_more_than_1": float(np.mean(steps > 1)),
    }


if __name__ == "__main__":
    sys.exit(main())
