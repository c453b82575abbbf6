"""Text from files, paths and users, made safe to print."""


def decode(value: bytes | str | None) -> str:
    """Returns a name of a file; bytes that are not UTF-8 are escaped."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value or ""


def plain(text: object) -> str:
    """Returns a text in which everything can be seen.

    Control characters (a terminal would obey them), marks that turn the direction of
    writing, and halves of surrogate pairs (file names that are not UTF-8) become
    escapes.

    Args:
        text: what to print; anything with a `str`.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )


def one_line(text: object) -> str:
    """Returns `plain` text with every run of white space as one space."""
    return plain(" ".join(str(text).split()))


def shorten(text: str, width: int) -> str:
    """Returns a text of at most `width` characters, cut in the middle.

    Both ends of a name tell more than what is between them.
    """
    if len(text) <= width:
        return text
    head = (width - 1) // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"
