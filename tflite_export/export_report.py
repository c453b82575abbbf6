"""What an export wrote, as data and as text."""

import io
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from qsparse.tflite_export.files.precision import A16W8, INT8
from qsparse.tflite_export.files.terminal import SafeConsole
from qsparse.tflite_export.parity.fidelity import Fidelity
from qsparse.tflite_export.parity.outputs import Parity
from qsparse.tflite_export.parity.trained import LayerMatch


@dataclass(frozen=True)
class ExportReport:
    """What `qsparse.export` wrote and verified.

    Attributes:
        path: the file.
        precision: "int8", "a16w8" (int16 activations), "dynamic-range" (float
            activations) or "float".
        target: what it was checked for, or None.
        inference_type: type of its float inputs and outputs: "int8", "int16" or
            "float32".
        batch_size: its static batch.
        size_bytes: size of the file.
        gzip_bytes: size of the file compressed with gzip.
        macs: multiply-accumulates of one invocation.
        int8_share: share of the MACs that multiply integers, 0 to 1.
        ranges: number of activation ranges by source: "trained", "calibrated" or
            "fixed" (by LiteRT, e.g. softmax).
        parity: difference from the fake-quantized graph, which has been through the
            same passes as the file.
        fidelity: difference from what the Keras model predicts, output by output.
        warnings: what to know before the file is trusted; also warned of when it was
            written.
        layers: one entry per compressed layer.
        float_ops: ops with MACs that are not integers, and loops.
        seconds: how long the export took.
    """

    path: str
    precision: str
    target: str | None
    inference_type: str
    batch_size: int
    size_bytes: int
    gzip_bytes: int
    macs: int
    int8_share: float
    ranges: dict[str, int]
    parity: Parity
    fidelity: list[Fidelity]
    warnings: list[str]
    layers: list[LayerMatch]
    float_ops: list[str]
    seconds: float

    @property
    def sparsity(self) -> float:
        """Share of zeros among the weights of all compressed layers."""
        known = [match for match in self.layers if match.tensor]
        total = sum(match.weights for match in known)
        return sum(m.sparsity * m.weights for m in known) / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON-ready values."""
        return asdict(self) | {
            "layers": [match.to_dict() for match in self.layers],
            "sparsity": self.sparsity,
        }

    def __str__(self) -> str:
        text = io.StringIO()
        console = SafeConsole(file=text, width=100)
        console.print(_summary(self))
        if self.layers:
            console.print(_layer_table(self.layers))
        for name in self.float_ops:
            console.print(f"not {self.precision}: {name}")
        for warning in self.warnings:
            console.print(f"WARNING: {warning}")
        return text.getvalue().rstrip()


def _summary(report: ExportReport) -> Table:
    table = Table(title=f"exported {report.path}", show_header=False)
    ranges = ", ".join(f"{n} {source}" for source, n in report.ranges.items())
    parity = report.parity
    rows = {
        "size": f"{report.size_bytes:,} bytes ({report.gzip_bytes:,} with gzip)",
        "precision": report.precision,
        _integers(report.precision): f"{report.int8_share:.1%} of {report.macs:,} MACs",
        "ranges": ranges,
        **_against_keras(report.fidelity),
        "against its own graph": f"at most {parity.max_lsb:.0f} LSB, "
        f"{parity.off_by_more:.2%} of the outputs off by more than 1 "
        f"({parity.samples} batches)",
        "compressed layers": f"{len(report.layers)}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _integers(precision: str) -> str:
    """Returns what the integers of a file are called."""
    return A16W8 if precision == A16W8 else INT8


def _against_keras(outputs: list[Fidelity]) -> dict[str, str]:
    if len(outputs) == 1:
        return {"against the Keras model": str(outputs[0])}
    return {f"against Keras: {entry.output}": str(entry) for entry in outputs}


def _layer_table(layers: list[LayerMatch]) -> Table:
    table = Table()
    for name in ("layer", "pattern", "sparsity", "weights", "notes"):
        table.add_column(name)
    for match in layers:
        found = match.tensor is not None
        notes = ["computed in float"] if match.state == "in float" else []
        if match.vanished:
            notes.append(f"{match.vanished} channels vanish behind a factor of zero")
        if match.coarse:
            notes.append(f"{match.coarse} channels on a coarser grid, for their bias")
        if match.flipped:
            notes.append(f"{match.flipped} channels negated by BatchNormalization")
        if match.regridded:
            notes.append(f"{match.regridded} channels put on the trained grid")
        table.add_row(
            match.path,
            match.pattern or "dense",
            f"{match.sparsity:.1%}" if found else "-",
            match.dtype or match.state,
            "; ".join(notes),
        )
    return table
