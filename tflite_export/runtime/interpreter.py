"""The LiteRT interpreter with our delegate loaded."""

import contextlib
import inspect
import json
import numbers
import os
import tempfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ai_edge_litert import interpreter as litert

from qsparse.tflite_export.files.qsp import is_packed
from qsparse.tflite_export.files.source import check_identifier, read_head, read_source

_LIBRARY = "libqsparse_delegate.so"
MOST_THREADS = 256
_OF_BASE = frozenset(inspect.signature(litert.Interpreter.__init__).parameters)


def delegate_library() -> str:
    """Returns the path of the delegate, an ordinary LiteRT external delegate.

    Any LiteRT program can load it, e.g. `benchmark_model
    --external_delegate_path=...`.

    Raises:
        FileNotFoundError: the package was installed without it.
    """
    resource = files("qsparse.tflite_export").joinpath(_LIBRARY)
    if not resource.is_file():
        raise FileNotFoundError(
            f"{_LIBRARY} is missing from the installed package. Build it with `pip "
            "install .` (or `make`) in a checkout of qsparse."
        )
    with as_file(resource) as path:
        return str(path)


class Interpreter(litert.Interpreter):
    """A LiteRT interpreter that runs sparse layers with our kernels.

    The delegate takes the FULLY_CONNECTED and CONV_2D nodes it expects to run
    faster; XNNPACK takes the rest. The results are those of XNNPACK, bit for bit.
    It is used like its base class: `allocate_tensors`, `set_tensor`, `invoke`,
    `get_tensor`.
    """

    def __init__(
        self,
        model: str | os.PathLike | bytes | None = None,
        num_threads: int | None = 1,
        *,
        model_path: str | os.PathLike | None = None,
        model_content: bytes | None = None,
        **options: Any,
    ) -> None:
        """Loads a model.

        Args:
            model: path or contents of a .tflite file, or of a .qsp file, which is
                expanded in memory only.
            num_threads: threads of the delegate and of XNNPACK, 1 to 256; None is 1.
            model_path: the path, as the base class calls it, instead of `model`.
            model_content: the contents, instead of `model`.
            **options: what else the base class takes (`experimental_...`; delegates
                given so are applied before ours), and options of our delegate: `isa`
                (instruction set to use: "avx512vnni", "avxvnni", "avx2", "i8mm",
                "dotprod", "neon", "portable"; default "auto"), `min_gain` (least
                predicted gain a node or a chain of nodes is taken for; default 1.1),
                `chains` (False: every layer by itself), `regions` (False: float
                arithmetic between layers stays with XNNPACK), `kernel` (one to prefer
                wherever it takes a layer), `dense` (True: treat every weight as
                present, for comparisons), `plan` (path the decisions are written to,
                as JSON), `cpu` (plan as on another, e.g. "sapphirerapids", and run
                nothing; needs `plan` or `log`), `log` (0, 1 or 2), `threads`.

        Raises:
            FileNotFoundError: no such file, or the delegate is missing.
            ValueError: the file is damaged, or an argument is wrong; says which.
            TypeError: the model is neither a path nor bytes.
        """
        name, source = _source(_one_of(model, model_path, model_content))
        threads = _check_threads(num_threads)
        of_base = {key: options.pop(key) for key in list(options) if key in _OF_BASE}
        delegate = litert.load_delegate(
            delegate_library(),
            {k: _as_text(v) for k, v in ({"threads": threads} | options).items()},
        )
        of_base["experimental_delegates"] = [
            *(of_base.get("experimental_delegates") or []),
            delegate,
        ]
        with _loading(name):
            super().__init__(**source, num_threads=threads, **of_base)


def plain_interpreter(
    model: str | os.PathLike | bytes, num_threads: int = 1
) -> litert.Interpreter:
    """Returns the stock interpreter (XNNPACK), with the errors of `Interpreter`."""
    name, source = _source(model)
    with _loading(name):
        return litert.Interpreter(**source, num_threads=_check_threads(num_threads))


@contextlib.contextmanager
def running(name: str) -> Iterator[None]:
    """Turns what LiteRT raises while it prepares or runs a file into a ValueError.

    Args:
        name: the file, for the message.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"LiteRT cannot run {name}: {error}") from error


def read_plan(model: str | os.PathLike | bytes, **options: Any) -> list[dict[str, Any]]:
    """Returns what the delegate decided for each node it looked at.

    Args:
        model: path or contents of a .tflite or .qsp file.
        **options: delegate options.

    Returns:
        One dict per FULLY_CONNECTED or CONV_2D node: "node", "pattern", "kernel",
        "isa", "predicted_gain", "claimed", "reason" and its shapes.

    Raises:
        ValueError: LiteRT cannot load or prepare the file, or an option is wrong.
        FileNotFoundError: no such file, or the delegate is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        interpreter = Interpreter(model, plan=path, **options)
        with running(_name(model)):
            interpreter.allocate_tensors()
        return json.loads(path.read_text()) if path.exists() else []


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ValueError(f"LiteRT cannot load {name}: {error}") from error


def _one_of(
    model: str | os.PathLike | bytes | None,
    path: str | os.PathLike | None,
    content: bytes | None,
) -> str | os.PathLike | bytes:
    given = [source for source in (model, path, content) if source is not None]
    if len(given) != 1:
        raise ValueError(
            "Interpreter takes one of model, model_path and model_content, got "
            f"{len(given)} of them."
        )
    if not isinstance(given[0], str | os.PathLike | bytes | bytearray):
        raise TypeError(
            "the model must be a path or the bytes of a .tflite or .qsp file, got "
            f"{type(given[0]).__name__}. qsparse.export makes such a file of a model."
        )
    return given[0]


def _check_threads(threads: int | None) -> int:
    if threads is None:
        return 1
    whole = isinstance(threads, numbers.Integral) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MOST_THREADS:
        raise ValueError(
            f"the number of threads must be an integer from 1 to {MOST_THREADS}, got "
            f"{threads!r}."
        )
    return int(threads)


def _name(model: str | os.PathLike | bytes) -> str:
    return "<bytes>" if isinstance(model, bytes | bytearray) else str(model)


def _source(model: str | os.PathLike | bytes) -> tuple[str, dict[str, Any]]:
    """Returns a name for messages and the arguments of the base class."""
    if not isinstance(model, bytes | bytearray):
        path = Path(model)
        head = read_head(path)
        if not is_packed(head):  # LiteRT maps the file
            check_identifier(str(path), head, path.stat().st_size)
            return str(path), {"model_path": str(path)}
    name, contents = read_source(model)
    return name, {"model_content": contents}
