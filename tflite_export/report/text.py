"""What `qsparse verify` prints."""

import io

from rich.table import Table

from qsparse.tflite_export.files.terminal import SafeConsole
from qsparse.tflite_export.parity.difference import TensorParity
from qsparse.tflite_export.parity.sides import SIDES
from qsparse.tflite_export.runtime.cpu import xnnpack_note
from qsparse.tflite_export.verify import Verification


def to_text(found: Verification, width: int = 100) -> str:
    """Returns a report for the terminal.

    Args:
        found: the result.
        width: columns to use.
    """
    text = io.StringIO()
    console = SafeConsole(file=text, width=width)
    console.print(_tensor_table(found))
    if found.weights:
        console.print(_weight_table(found))
    console.print(_side_table(found))
    for line in summary(found):
        console.print(line)
    for warning in found.warnings:
        console.print(f"WARNING: {warning}")
    for failure in found.failures:
        console.print(f"FAILED: {failure}")
    return text.getvalue().rstrip()


def summary(found: Verification) -> list[str]:
    """Returns the findings, one sentence each."""
    work = found.work
    lines = [f"{f.output} against Keras: {f}." for f in found.fidelity]
    lines.append(growth_sentence(found))
    if found.inexact:
        names = ", ".join(place(entry) for entry in found.inexact[:5])
        lines.append(f"Off by more than rounding on their own: {names}.")
    else:
        lines.append("Every op, fed what the file fed it, is within one LSB.")
    pruned = [row for row in found.weights if row.masked]
    lost = sum(row.lost_zeros for row in pruned)
    masked = sum(row.masked for row in pruned)
    lines.append(
        f"{masked - lost:,} of {masked:,} pruned weights are zero in the file."
    )
    lines.append(
        f"{work.int8:.1%} of {work.macs:,} MACs are {work.precision}; "
        f"{work.claimable:.1%} are in layers our delegate can take, "
        f"{work.claimed:.1%} in those it takes here. {xnnpack_note()}"
    )
    lines += [work.advice] if work.advice else []
    lines += [f"not {work.precision}: {name}" for name in work.float_ops]
    lines.append(
        f"Our delegate and XNNPACK differ in {found.delegate_differences} values."
    )
    return lines


def growth_sentence(found: Verification) -> str:
    """Says where the difference first grows."""
    entry = found.growth
    if entry is None:
        return (
            "The difference grows nowhere by more than one LSB "
            f"(greatest: {found.greatest_lsb} LSB)."
        )
    why = (
        "its own op is off"
        if entry in found.inexact
        else "it rounds well, but its LSB is finer than that of its inputs"
    )
    return (
        f"The difference first grows at {place(entry)}, to "
        f"{entry.accumulated.max_lsb} LSB: {why}."
    )


def place(entry: TensorParity) -> str:
    """Names a tensor by its layer and its op."""
    return f"{entry.label} ({entry.op})"


def _tensor_table(found: Verification) -> Table:
    table = Table(
        title=f"{found.file} against {found.model}, {found.samples} samples",
        caption="LSBs of each tensor. From input: both sides run from the input. "
        "Alone: the op is fed what the file fed it. > marks where it first grows.",
    )
    table.add_column("layer", overflow="fold")
    table.add_column("op")
    for name in ("from input\nmax", "mean", "off by\n>1", "alone\nmax", "mean"):
        table.add_column(name, justify="right")
    for entry in found.tensors:
        mark = "> " if entry.tensor == found.first_growth else ""
        whole, alone = entry.accumulated, entry.local
        table.add_row(
            mark + (entry.label),
            entry.op,
            f"{whole.max_lsb}",
            f"{whole.mean_lsb:.3f}",
            f"{whole.off_by_more:.2%}",
            f"{alone.max_lsb}",
            f"{alone.mean_lsb:.3f}",
        )
    return table


def _weight_table(found: Verification) -> Table:
    table = Table(title="weights")
    table.add_column("layer", overflow="fold")
    table.add_column("pattern")
    for name in ("weights", "zeros", "pruned", "zeros lost", "changed"):
        table.add_column(name, justify="right")
    for row in found.weights:
        known = row.tensor is not None
        table.add_row(
            row.layer,
            row.pattern or "dense",
            f"{row.weights:,}",
            f"{row.zeros / max(row.weights, 1):.1%}" if known else row.state,
            f"{row.masked:,}",
            f"{row.lost_zeros}" if known else "-",
            f"{row.changed}" if known else "-",
        )
    return table


def _side_table(found: Verification) -> Table:
    count = found.sides[0].samples if found.sides else 0
    table = Table(title=f"outputs on {count} samples")
    several = len({entry.output for entry in found.sides}) > 1
    table.add_column("computed by", overflow="fold")
    for name in ("accuracy", "same class\nas Keras", "mean off", "max off"):
        table.add_column(name, justify="right")
    for entry in found.sides:
        name = SIDES[entry.side] + (f": {entry.output}" if several else "")
        table.add_row(
            name,
            quality(entry.accuracy, entry.mean_error),
            *(
                "-" if entry.same_class is None else f"{entry.same_class:.2%}",
                f"{entry.mean_off:.4g}",
                f"{entry.max_off:.4g}",
            ),
        )
    return table


def quality(accuracy: float | None, mean_error: float | None) -> str:
    """Returns an accuracy, or an error if the labels are values."""
    if accuracy is not None:
        return f"{accuracy:.2%}"
    return "-" if mean_error is None else f"error {mean_error:.4g}"
