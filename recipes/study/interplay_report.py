"""The report of a study of interplay: one page that needs nothing else, and tables."""

import base64
import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from qsparse.recipes.study.interplay_config import AFTER, PROTOCOLS, TRAINED, TUNED
from qsparse.recipes.study.interplay_figures import (
    accuracy_by_size,
    heat_map,
    order_gaps,
    propagation,
)
from qsparse.recipes.study.interplay_findings import (
    EARNED,
    PRUNED_FIRST,
    Cell,
    Difference,
    Findings,
)
from qsparse.recipes.study.rows import Row
from qsparse.recipes.study.tasks import TASKS
from qsparse.tflite_export.report.html_style import STYLE

Figure = Callable[[Findings], bytes | None]
_FIGURES: dict[str, tuple[Figure, str]] = {
    "threshold": (
        heat_map,
        "By how much pruning and rounding together are worse than the sum of what each "
        "costs alone. Red: they hurt each other. Blue: together they cost less.",
    ),
    "order": (
        order_gaps,
        "By how much rounding first and pruning then is worse than the other way "
        "round, mean over patterns; bars of 95% over seeds. Above the line S->Q is "
        "better.",
    ),
    "propagation": (
        propagation,
        "How far what flows into each layer is from the dense network's, before any "
        "training, from the first layer to the last. Solid S->Q, dotted Q->S.",
    ),
    "size": (
        accuracy_by_size,
        "What is reached with how many bits: of the weights that stay, and one for "
        "each place in the mask.",
    ),
}

_CHANCE = (
    "Differences over seeds, mean over patterns, with intervals of 95%. Each line is "
    "judged by itself: of forty that are not so, one will say yes."
)

_TITLES = {
    "accuracy": "Accuracy, percent of the test data",
    "perplexity": "Perplexity of the test text, character by character; less is better",
}

_WORDS = """<p>A network can be made small in two ways. <b>Pruning</b> (S, for sparsity)
sets weights to zero; <b>quantizing</b> (Q) rounds numbers to few bits. Each costs some
accuracy. If you do both, do the costs just add up?</p>
<dl>
<dt>S-&gt;Q, Q-&gt;S</dt><dd>The two orders: prune and round what is left, or round
and prune by the rounded sizes. Rounding makes unequal weights equal, so that pruning
after it may take the wrong one.</dd>
<dt>Threshold</dt><dd>What a network that is pruned and rounded would be if both did
not touch each other: pruned + rounded - dense. Worse than that, they hurt each other
(&quot;not orthogonal&quot;).</dd>
<dt>Loss</dt><dd>Cross-entropy on test data: less is better, and it shows smaller
differences than accuracy does.</dd>
"""


def write_report(folder: Path, rows: Mapping[str, Row]) -> None:
    """Writes `report.html`, `interplay.csv`, `interplay.json` and the figures.

    Args:
        folder: where to; it is made.
        rows: by name, of any networks.

    Raises:
        ValueError: if no run has been finished.
        ImportError: matplotlib is not installed.
    """
    rows = {name: row for name, row in rows.items() if "loss" in row}
    if not rows:
        raise ValueError("There is no report to write yet: no run has been finished.")
    folder.mkdir(parents=True, exist_ok=True)
    networks = sorted({name.split("/")[0] for name in rows})
    sections = []
    for network in networks:
        found = Findings(network, rows)
        pictures = {}
        for name, (draw, _) in _FIGURES.items():
            picture = draw(found)
            if picture is not None:
                (folder / f"{network}-{name}.png").write_bytes(picture)
                pictures[name] = picture
        reports = TASKS[network].reports if network in TASKS else "accuracy"
        sections.append(_section(found, Findings(network, rows, reports), pictures))
    (folder / "interplay.csv").write_text(_csv(rows), encoding="utf-8")
    summary = [_summary(Findings(network, rows)) for network in networks]
    (folder / "interplay.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "report.html").write_text(_page(rows, sections), encoding="utf-8")


def _csv(rows: Mapping[str, Row]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = ("network", "protocol", "pattern", "format", "order", "seed")
    writer.writerow([*head, "accuracy", "loss", "seconds", "commit", "cpu"])
    for name, row in rows.items():
        values = [row[key] for key in ("accuracy", "loss", "seconds", "commit", "cpu")]
        writer.writerow([*name.split("/"), *values])
    return stream.getvalue()


def _summary(found: Findings) -> dict[str, Any]:
    """Returns thresholds and claims of a network, JSON-ready."""
    cells = []
    for cell in found.cells:
        landed = found.threshold(cell)
        if landed is not None:
            cells.append(cell._asdict() | landed.to_dict())
    return {
        "network": found.network,
        "metric": found.metric,
        "cells": cells,
        "claims": [
            {"claim": claim, "where": where} | _as_dict(difference)
            for claim, where, difference in claims(found)
        ],
        "forecast": {
            protocol: agreement._asdict()
            for protocol in found.names("protocol")
            for agreement in [found.forecast(protocol)]
            if agreement is not None
        },
    }


def _as_dict(difference: Difference) -> dict[str, Any]:
    half = difference.half if math.isfinite(difference.half) else None
    return {
        "mean": difference.mean,
        "half_interval": half,
        "seeds": difference.count,
        "verdict": difference.verdict,
    }


def claims(found: Findings) -> list[tuple[str, str, Difference]]:
    """Returns what is claimed of both together, where, and what was found.

    A claim holds where its difference is above 0.
    """
    lines: list[tuple[str, str, Difference | None]] = []
    formats = found.names("format")
    for protocol in found.names("protocol"):
        for format in formats:
            lines.append(
                (
                    "together they cost more than the sum (S->Q)",
                    f"{protocol}, {format}",
                    found.pooled_excess(protocol, format, PRUNED_FIRST),
                )
            )
    for protocol in (p for p in found.names("protocol") if p != TUNED):
        for format in formats:
            lines.append(
                (
                    "Q->S is worse than S->Q",
                    f"{protocol}, {format}",
                    found.pooled_gap(protocol, format),
                )
            )
    for format in formats:
        lines.append(
            (
                "the paper's arm of Q->S is worse than that of S->Q (confounded)",
                f"{TRAINED} against {TUNED}, {format}",
                found.confounded(format),
            )
        )
    return [(claim, where, d) for claim, where, d in lines if d is not None]


def _section(found: Findings, shown: Findings, pictures: Mapping[str, bytes]) -> str:
    parts = [_sentence(found)]
    for name, picture in pictures.items():
        text = base64.b64encode(picture).decode()
        caption = escape(_FIGURES[name][1])
        parts.append(f'<p>{caption}</p><img alt="{caption}" ')
        parts.append(f'src="data:image/png;base64,{text}">')
    rows = [
        (claim, where, _plus_minus(d, 4), str(d.count), d.verdict)
        for claim, where, d in claims(found)
    ]
    head = ("claim", "where", f"{found.metric}, difference", "seeds", "holds?")
    parts += ["<h3>Claim by claim</h3>", f"<p>{_CHANCE}</p>", _table(head, rows)]
    parts.append(f"<h3>{_TITLES[shown.metric]}</h3>")
    parts += [_results(shown, protocol) for protocol in _protocols(found)]
    parts.append(_forecast(found))
    return f"<section><h2>{escape(found.network)}</h2>{''.join(parts)}</section>"


def _protocols(found: Findings) -> list[str]:
    return [name for name in PROTOCOLS if name in found.names("protocol")]


def _sentence(found: Findings) -> str:
    """Returns what the network shows, in a sentence or two."""
    gaps = [
        (format, gap)
        for format in found.names("format")
        for gap in [found.pooled_gap(TRAINED, format)]
        if gap is not None
    ]
    if not gaps:
        return ""
    sure = [f"{format} ({_plus_minus(gap, 3)})" for format, gap in gaps]
    better = sum(gap.verdict == "yes" for _, gap in gaps)
    return (
        f"<p>Trained with both, quantizing first was worse beyond noise for {better} "
        f"of {len(gaps)} formats; differences of the loss: "
        f"{escape(', '.join(sure))}.</p>"
    )


def _results(found: Findings, protocol: str) -> str:
    formats = found.names("format")

    def parts(pattern: str, format: str) -> list[Cell]:
        return found.parts(Cell(protocol, pattern, format, PRUNED_FIRST))

    rows = []
    for pattern in found.names("pattern"):
        for order in found.names("order"):
            if _any(found, protocol, pattern, order):
                cells = [Cell(protocol, pattern, f, order) for f in formats]
                rows.append((f"{pattern}, {order}", *(_mean(found, c) for c in cells)))
        alone = _mean(found, parts(pattern, formats[0])[1])
        rows.append((f"{pattern}, not rounded", alone))
    rows.append(("not pruned", *(_mean(found, parts("", f)[2]) for f in formats)))
    dense = _mean(found, parts("", formats[0])[0])
    title = f"{protocol}: {PROTOCOLS[protocol]}; dense {dense}"
    return f"<p>{escape(title)}</p>" + _table((protocol, *formats), rows)


def _any(found: Findings, protocol: str, pattern: str, order: str) -> bool:
    return any(
        found.seeds(Cell(protocol, pattern, format, order))
        for format in found.names("format")
    )


def _mean(found: Findings, cell: Cell) -> str:
    scale = 100.0 if found.metric == "accuracy" else 1.0
    values = [scale * value for value in found.seeds(cell).values()]
    if not values:
        return "-"
    mean = f"{sum(values) / len(values):.2f}"
    spread = (max(values) - min(values)) / 2
    return f"{mean} ± {spread:.2f}" if len(values) > 1 else f"{mean} (1 seed)"


def _forecast(found: Findings) -> str:
    lines = []
    for protocol in (p for p in _protocols(found) if p != AFTER):
        result = found.forecast(protocol)
        if result is not None:
            told = f"{result.told} of {result.pairs}" if result.pairs else "-"
            earned = "may" if result.correlation >= EARNED else "must not"
            shown = (f"{result.correlation:.2f}", str(result.settings), earned, told)
            lines.append((protocol, *shown))
    if not lines:
        return ""
    head = ("protocol", "correlation", "settings", "may it choose?", "orders told")
    return (
        "<h3>Can it be told before training?</h3><p>Rank correlation of the loss right "
        "after pruning and rounding, on some training data, with the loss on test data "
        f"in the end, over patterns and formats, S-&gt;Q. From {EARNED} on a forecast "
        "may choose a pattern and a format for you. Orders differ by less: beside it "
        "stands how often the better one was foretold; half is chance.</p>"
        + _table(head, lines)
    )


def _plus_minus(difference: Difference, digits: int) -> str:
    mean = f"{difference.mean:+.{digits}f}"
    if not math.isfinite(difference.half):
        return mean
    return f"{mean} ± {difference.half:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        filled = [*cells, *[""] * (len(head) - len(cells))]
        shown = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in filled)
        return f"<tr>{shown}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{line(head, "th")}{body}</table></div>'


def _page(rows: Mapping[str, Row], sections: Sequence[str]) -> str:
    def all_of(key: str) -> str:
        return "; ".join(sorted({str(row[key]) for row in rows.values()}))

    title = "How sparsity and quantization interact"
    protocols = "".join(
        f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in PROTOCOLS.items()
    )
    made = (
        f"{len(rows)} runs, {all_of('date')}; commits {all_of('commit')}; Keras "
        f"{all_of('keras')}; {all_of('cpu')}. Made by qsparse study interplay."
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{title}</h1><p>{escape(made)}</p></header>"
        f"<section><h2>In short</h2>{_WORDS}{protocols}</dl></section>"
        f"{''.join(sections)}</main></body></html>\n"
    )
