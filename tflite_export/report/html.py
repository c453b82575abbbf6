"""The report of a verification as one HTML file that needs nothing else."""

from html import escape

from qsparse.tflite_export.files.precision import A16W8
from qsparse.tflite_export.parity.difference import ROUNDING_LSB
from qsparse.tflite_export.parity.sides import Side
from qsparse.tflite_export.report.html_style import STYLE
from qsparse.tflite_export.report.html_tables import (
    breakable,
    side_table,
    tensor_table,
    weight_table,
)
from qsparse.tflite_export.report.plot import draw
from qsparse.tflite_export.report.text import (
    growth_sentence,
    place,
)
from qsparse.tflite_export.verify import Verification


def to_html(found: Verification) -> str:
    """Returns the report; every name in it is escaped.

    Args:
        found: the result.

    Raises:
        ValueError: matplotlib, which draws the plot, is not installed.
    """
    title = f"{found.file} against {found.model}"
    sections = [
        _verdict(found),
        _tiles(found),
        _section(
            "Difference by tensor",
            f"<p>{escape(growth_sentence(found))}</p>"
            f'<img alt="Greatest difference of every tensor, in LSBs" '
            f'src="data:image/png;base64,{draw(found)}">',
        ),
        _section("Outputs", _against_keras(found) + side_table(found)),
        _section("Where the work is done", _work(found)),
        _section("Tensors", tensor_table(found)),
        _section("Weights", weight_table(found)) if found.weights else "",
        _section("Words", _WORDS),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{escape(found.file)}</h1><p>against {escape(found.model)}, "
        f"{found.size_bytes:,} bytes; tensors compared on {found.samples} samples</p>"
        f"</header>{''.join(sections)}</main></body></html>\n"
    )


_WORDS = """<dl>
<dt>LSB</dt><dd>One step of a tensor's scale. Two correct roundings of one value
differ by at most 1.</dd>
<dt>From the input</dt><dd>Both sides run from the input of the model, as for a user;
differences accumulate, and grow in number where a finer scale follows.</dd>
<dt>Alone</dt><dd>The model's op is fed what the file's op was fed. An op off by more
than 1 LSB computes something else.</dd>
<dt>First grows</dt><dd>The first op that is off by more than 1 LSB alone; if there is
none, the first tensor further off than each of its inputs by more than 1 LSB.</dd>
<dt>Claimable</dt><dd>Int8 fully connected layers and convolutions: those our delegate
has kernels for. It claims those it expects to run faster on this machine.</dd>
</dl>"""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _verdict(found: Verification) -> str:
    doubts = "".join(f"<li>{escape(text)}</li>" for text in found.warnings)
    doubts = f"<ul>{doubts}</ul>" if doubts else ""
    if not found.failures:
        but = ", but read this" if doubts else ""
        kind = "doubtful" if doubts else "good"
        return (
            f'<div class="verdict {kind}"><b>All checks passed{but}.</b>{doubts}</div>'
        )
    items = "".join(f"<li>{escape(failure)}</li>" for failure in found.failures)
    count = len(found.failures)
    return (
        f'<div class="verdict bad"><b>{count} check{"s" if count > 1 else ""} '
        f"failed</b><ul>{items}</ul>{doubts}</div>"
    )


def _tiles(found: Verification) -> str:
    worst = max(found.tensors, key=lambda t: t.accumulated.max_lsb, default=None)
    masked = sum(row.masked for row in found.weights)
    lost = sum(row.lost_zeros for row in found.weights)
    alone = max((t.local.max_lsb for t in found.tensors), default=0)
    tiles = [
        (
            f"{found.greatest_lsb} LSB",
            "greatest difference",
            "" if worst is None else f"at {place(worst)}",
            _over(found),
        ),
        (
            f"{alone} LSB",
            "of one op alone",
            f"ops beyond rounding: {len(found.inexact)}",
            alone > ROUNDING_LSB,
        ),
        (
            f"{(masked - lost) / masked:.2%}" if masked else "none",
            "zeros kept" if masked else "pruned weights",
            f"{masked - lost:,} of {masked:,}" if masked else "",
            lost > 0,
        ),
        (
            f"{found.delegate_differences}",
            "values differ in our delegate",
            "from XNNPACK, bit for bit",
            found.delegate_differences > 0,
        ),
        (
            f"{found.work.int8:.1%}",
            f"of the MACs in {found.work.precision}",
            f"{found.work.claimable:.1%} claimable",
            False,
        ),
        *_accuracy_tile(found.sides),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile{" bad" if bad else ""}"><b>{escape(value)}</b>'
            f"<span>{escape(name)}</span><small>{breakable(more)}</small></div>"
            for value, name, more, bad in tiles
        )
        + "</div>"
    )


def _against_keras(found: Verification) -> str:
    return "".join(
        f"<p><b>{escape(f.output)}</b> against the Keras model: {escape(str(f))}.</p>"
        for f in found.fidelity
    )


def _over(found: Verification) -> bool:
    return found.max_lsb is not None and found.greatest_lsb > found.max_lsb


def _accuracy_tile(sides: list[Side]) -> list[tuple[str, str, str, bool]]:
    """Returns a tile on the first output that has classes."""
    for entry in sides:
        if entry.side != "litert":
            continue
        model = next(s for s in sides if s.side == "keras" and s.output == entry.output)
        if entry.accuracy is not None and model.accuracy is not None:
            more = f"Keras {model.accuracy:.2%}"
            return [(f"{entry.accuracy:.2%}", "accuracy in LiteRT", more, False)]
        if entry.same_class is not None:
            return [(f"{entry.same_class:.2%}", "same class as Keras", "", False)]
    return []


def _work(found: Verification) -> str:
    work = found.work
    parts = [
        ("claimed", work.claimed, "our delegate takes them here"),
        ("claimable", work.claimable - work.claimed, "it could, but gains nothing"),
        ("int8", work.int8 - work.claimable, _elsewhere(work.precision)),
        ("float", 1 - work.int8, "float"),
    ]
    bar = "".join(
        f'<i class="{kind}" style="width:{100 * share:.3f}%"></i>'
        for kind, share, _ in parts
    )
    legend = "".join(
        f'<li><i class="{kind}"></i>{share:.1%} {name}</li>'
        for kind, share, name in parts
    )
    floats = "".join(
        f"<li>not {work.precision}: {escape(name)}</li>" for name in work.float_ops
    )
    return (
        f"<p>{work.macs:,} multiply-accumulates per run.</p>"
        f'<div class="bar">{bar}</div><ul class="legend">{legend}</ul>'
        + (f"<ul>{floats}</ul>" if floats else "")
        + (f"<p>{escape(work.advice)}</p>" if work.advice else "")
    )


def _elsewhere(precision: str) -> str:
    """Returns what runs the integers that our delegate has no kernels for."""
    runtime = "built-in kernels of LiteRT" if precision == A16W8 else "XNNPACK"
    return f"other {precision} ops, in {runtime}"
