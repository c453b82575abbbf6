"""Where files are written to, and that half of one is never seen."""

import os
import tempfile
from pathlib import Path


def check_destination(path: str | os.PathLike, suffix: str) -> Path:
    """Checks a path before the work that leads to its contents.

    Args:
        path: the file to write; an existing one will be replaced.
        suffix: what it has to end in, with the dot.

    Raises:
        TypeError: it is no path.
        ValueError: it ends otherwise.
        FileNotFoundError: its folder does not exist.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a path, got {type(path).__name__}.")
    target = Path(path)
    if target.suffix != suffix:
        raise ValueError(f"path must end in {suffix}, got {str(path)!r}.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {str(target.parent)!r} of path does not exist. Create it "
            "first."
        )
    return target


def write_whole(target: Path, contents: bytes) -> None:
    """Writes beside `target`, then renames: a reader never sees half a file."""
    handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(contents)
        # mkstemp makes the file private; give it the mode any other file gets.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
