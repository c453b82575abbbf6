"""Rows as pages for the docs."""
from benchmarks.rows import Row


def layers_page(rows: list[Row]) -> str:
    lines = ["| layer | outcome | SQNR | note |", "|---|---|---|---|"]
    for r in rows:
        lines.append(f"| {r['name']} | {r['outcome']} | {r.get('sqnr_db')} | {r.get('float_ops')} {r.get('note')} {r.get('warnings')} |")
    return "\n".join(lines) + "\n"
