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
        OSError: its folder does not exist or cannot be written to, or a folder has
            its name.
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
    if target.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Choose another name.")
    _check_writable(target.parent)
    return target


def check_folder(path: str | os.PathLike) -> Path:
    """Makes a folder, with those it is in, before the work whose results it gets.

    Args:
        path: the folder; may exist.

    Raises:
        OSError: it cannot be made or written to.
    """
    folder = Path(path)
    _check_writable(folder, make=True)
    return folder


def _check_writable(folder: Path, make: bool = False) -> None:
    """Writes a file and removes it: permissions alone do not tell of a full disk."""
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"qsparse")
    except OSError as error:
        raise type(error)(
            error.errno,
            f"cannot write to the folder {str(folder)!r}: {error.strerror}. Choose "
            "another one",
        ) from error


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
