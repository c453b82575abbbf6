"""Says which pattern would be faster on this CPU, where the one of a file is not."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import CLAIMABLE
from qsparse.tflite_export.files.pruned import prune_file
from qsparse.tflite_export.files.source import read_source
from qsparse.tflite_export.runtime.apart import plan_apart

_LEAST_SPARSITY = 0.25  # fewer zeros were not meant to make a layer fast
_WORTH_IT = 0.5  # of the MACs in question, that a pattern must make faster
# What costs the least accuracy first.
_BLOCKS = ((4, 4), (8, 4), (16, 4), (32, 4))
_MORE_ZEROS = 0.9

Plan = list[dict[str, Any]]


@dataclass(frozen=True)
class Advice:
    """Pruned layers that gain nothing, and what would.

    Attributes:
        layers: pruned int8 layers of the file.
        idle: how many of them are not predicted to run faster than in XNNPACK.
        sparsity: share of zeros in those.
        block: `(outputs, inputs)` of the smallest block that would be faster; None if
            none would.
        block_sparsity: share of zeros it was asked about with: `sparsity`, or 0.9.
        gain: how much faster those layers are predicted to be then.
    """

    layers: int
    idle: int
    sparsity: float
    block: tuple[int, int] | None
    block_sparsity: float
    gain: float

    def __str__(self) -> str:
        if self.block is None:
            would = f"No blocks would either, up to {_MORE_ZEROS:.0%} zeros."
        else:
            rows, columns = self.block
            would = (
                f"Block(({rows}, {columns})) at {self.block_sparsity:.0%} would, by "
                f"{self.gain:.1f}x as predicted."
            )
        return (
            f"{self.idle} of {self.layers} pruned layers, {self.sparsity:.0%} zeros, "
            f"gain nothing over XNNPACK on this CPU. {would}"
        )


def advise(
    model: str | os.PathLike | bytes, plan: Plan | None = None, *, cpu: str = "auto"
) -> Advice | None:
    """Returns what would make the pruned layers of a file faster; None if they are.

    The delegate is asked about the same file with other zeros; nothing runs.

    Args:
        model: path or contents of a .tflite or .qsp file.
        plan: what `read_plan` returned for it; None asks.
        cpu: another CPU to ask about, as for `Interpreter`.

    Raises:
        ValueError: the file is damaged, LiteRT cannot prepare it, or there is no such
            CPU.
        FileNotFoundError: no such file, or the delegate is missing.
    """
    _, content = read_source(model)
    file = ModelFile(model)
    zeros = {
        op.index: 1 - np.count_nonzero(weights.data) / weights.size
        for op, weights in file.int8_layers()
        if op.name in CLAIMABLE and weights.size
    }
    pruned = {node for node, share in zeros.items() if share >= _LEAST_SPARSITY}
    if not pruned:
        return None
    plan = _plan(content, cpu) if plan is None else plan
    idle = pruned - {entry["node"] for entry in plan if entry["claimed"]}
    macs = {op.index: op.macs for op in file.ops}
    if sum(macs[i] for i in idle) <= (1 - _WORTH_IT) * sum(macs[i] for i in pruned):
        return None
    sizes = {op.index: w.size for op, w in file.int8_layers() if op.index in idle}
    sparsity = sum(zeros[i] * n for i, n in sizes.items()) / sum(sizes.values())
    for zeros_asked in sorted({sparsity, max(sparsity, _MORE_ZEROS)}):
        for block in _BLOCKS:
            gain = _gain(content, idle, macs, block, zeros_asked, cpu)
            if gain is not None:
                return Advice(
                    len(pruned), len(idle), sparsity, block, zeros_asked, gain
                )
    return Advice(len(pruned), len(idle), sparsity, None, sparsity, 1.0)


def _gain(
    content: bytes,
    idle: set[int],
    macs: dict[int, int],
    block: tuple[int, int],
    sparsity: float,
    cpu: str,
) -> float | None:
    """Returns the predicted gain of layers with other zeros; None if too few gain."""
    other = prune_file(content, lambda sizes: _kept(sizes, block, sparsity), idle)
    try:
        plan = _plan(other, cpu)
    except ValueError:  # LiteRT may refuse what we made of a strange file
        return None
    gains = {
        entry["node"]: entry["predicted_gain"]
        for entry in plan
        if entry["claimed"] and entry["node"] in idle
    }
    whole = sum(macs[node] for node in idle)
    if sum(macs[node] for node in gains) < _WORTH_IT * whole:
        return None
    return whole / sum(macs[node] / max(gains.get(node, 1.0), 1.0) for node in idle)


def _kept(
    sizes: np.ndarray, block: Sequence[int], sparsity: float
) -> np.ndarray | None:
    """Returns a mask of blocks spread at random: what is fast asks for no more."""
    outputs, taps, inputs = sizes.shape
    if outputs % block[0] or inputs % block[1]:
        return None
    tiles = (outputs // block[0], taps, inputs // block[1])
    keep = np.random.default_rng(0).random(tiles) >= sparsity
    return keep.repeat(block[0], 0).repeat(block[1], 2)


def _plan(content: bytes, cpu: str) -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        return plan_apart(path, cpu=cpu)
