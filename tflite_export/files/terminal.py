"""A console that prints what files and paths are called, and obeys none of it."""

from typing import Any

from rich.console import Console
from rich.text import Text

from qsparse.tflite_export.files.plain_text import plain


class SafeConsole(Console):
    """A `rich` console for text that comes from elsewhere.

    Brackets and `:names:` are no markup in it, and control characters are printed as
    escapes; only line ends are kept. Tables printed to it are safe as well.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns the text, every control character escaped."""
        lines = (plain(line) for line in text.split("\n"))
        return super().render_str("\n".join(lines), **options)
