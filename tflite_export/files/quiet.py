"""Keeps what native code prints off the terminal."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Sends file descriptor 2 to a file; MLIR and LiteRT log there from C++.

    Python warnings are ignored meanwhile.

    Yields:
        A function that returns what was written so far.
    """
    with tempfile.NamedTemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def written() -> str:
            with open(sink.name, errors="replace") as stream:
                return stream.read()

        keep = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield written
        finally:
            os.dup2(keep, 2)
            os.close(keep)
