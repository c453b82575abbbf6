"""Arrows between rooms go one way, and every room says what it is."""

# Every room, and those it may import; in this order none is above itself.
ALLOWED = {
    "qsparse/methods": (),
    "qsparse/engine": ("qsparse/methods", "qsparse"),
    "callbacks": ("qsparse/engine", "qsparse/methods", "qsparse"),
}
