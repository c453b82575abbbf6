"""The LiteRT interpreter with our delegate loaded."""

import json
import os
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ai_edge_litert import interpreter as litert

from qsparse.tflite_export.container import is_packed
from qsparse.tflite_export.source import check_identifier, read_head, read_model

_LIBRARY = "libqsparse_delegate.so"


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
        model: str | os.PathLike | bytes,
        num_threads: int = 1,
        **delegate_options: Any,
    ) -> None:
        """Loads a model.

        Args:
            model: path or contents of a .tflite file, or of a .qsp file, which is
                expanded in memory only.
            num_threads: threads of the delegate and of XNNPACK.
            **delegate_options: `isa` (instruction set to use: "avx512vnni", "avxvnni",
                "avx2", "i8mm", "dotprod", "neon", "portable"; default "auto"),
                `min_gain` (least predicted gain a node or a chain of nodes is taken
                for; default 1.1), `chains` (False: every layer by itself), `kernel`
                (one to prefer wherever it takes a layer), `dense` (True: treat every
                weight as present, for comparisons), `plan` (path the decisions are
                written to, as JSON), `log` (0, 1 or 2), `threads`.

        Raises:
            FileNotFoundError: no such file, or the delegate is missing.
            ValueError: the file is damaged, or an option is wrong; says which.
        """
        name, source = _source(model)
        options = {"threads": num_threads, **delegate_options}
        delegate = litert.load_delegate(
            delegate_library(), {k: _as_text(v) for k, v in options.items()}
        )
        try:
            super().__init__(
                **source, num_threads=num_threads, experimental_delegates=[delegate]
            )
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"LiteRT cannot load {name}: {error}") from error


def plain_interpreter(
    model: str | os.PathLike | bytes, num_threads: int = 1
) -> litert.Interpreter:
    """Returns the stock interpreter (XNNPACK), with the errors of `Interpreter`."""
    name, source = _source(model)
    try:
        return litert.Interpreter(**source, num_threads=num_threads)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"LiteRT cannot load {name}: {error}") from error


def read_plan(model: str | os.PathLike | bytes, **options: Any) -> list[dict[str, Any]]:
    """Returns what the delegate decided for each node it looked at.

    Args:
        model: path or contents of a .tflite or .qsp file.
        **options: delegate options.

    Returns:
        One dict per FULLY_CONNECTED or CONV_2D node: "node", "pattern", "kernel",
        "isa", "predicted_gain", "claimed", "reason" and its shapes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        interpreter = Interpreter(model, plan=path, **options)
        interpreter.allocate_tensors()
        return json.loads(path.read_text()) if path.exists() else []


def _as_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _source(model: str | os.PathLike | bytes) -> tuple[str, dict[str, Any]]:
    """Returns a name for messages and the arguments of the base class."""
    if not isinstance(model, bytes | bytearray):
        path = Path(model)
        head = read_head(path)
        if not is_packed(head):  # LiteRT maps the file
            check_identifier(str(path), head, path.stat().st_size)
            return str(path), {"model_path": str(path)}
    name, contents = read_model(model)
    return name, {"model_content": contents}
