"""The `qsparse` command."""

import argparse
import importlib
import importlib.util
import json
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import qsparse
from qsparse.tflite_export.files.plain_text import one_line, plain
from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.files.terminal import SafeConsole

# What a shell reports of a program that ended by SIGINT or SIGPIPE.
_INTERRUPTED, _NO_READER = 130, 141
_LEAST_WIDTH, _TEXT_WIDTH = 80, 100


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; bad input ends in one line on stderr and exit code 2.

    Args:
        arguments: command line without the program; None takes `sys.argv`.

    Returns:
        The exit code: 0; 1 if a check failed; 2 for bad input; 130 after Ctrl-C; 141
        if nobody reads the output any more.
    """
    if hasattr(sys.stdout, "reconfigure"):  # a name must not end the program
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        code = command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python flushes once more when it ends; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (ValueError, OSError, MemoryError) as error:
        return _fail(error)


def _fail(error: object) -> int:
    """Says in one line what is wrong; returns the exit code."""
    print(f"qsparse: error: {one_line(error)}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """Prints what it was given without obeying it."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="qsparse",
        description="Sparse int8 Keras models: try, inspect, measure, verify, pack.",
    )
    parser.add_argument(
        "--version", action="version", version=f"qsparse {qsparse.__version__}"
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser("demo", help="train, export and measure a small model")
    demo.add_argument("--output", default="demo", help="folder for the results")
    demo.add_argument("--quick", action="store_true", help="fewer images and epochs")
    demo.set_defaults(command=_demo)

    inspect = commands.add_parser("inspect", help="show the layers of a model file")
    inspect.add_argument("file", help="a .tflite, .qsp or .keras file")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(command=_inspect)

    bench = commands.add_parser("bench", help="measure a file against XNNPACK")
    bench.add_argument("file", help="a .tflite or .qsp file")
    bench.add_argument("--json", action="store_true", help="print JSON")
    bench.add_argument("--threads", type=int, default=1, help="1 to 256")
    bench.add_argument("--rounds", type=int, default=60, help="turns of each variant")
    bench.add_argument(
        "--per-layer", action="store_true", help="measure every layer on its own"
    )
    bench.set_defaults(command=_bench)

    verify = commands.add_parser(
        "verify", help="compare a .tflite file with its model, tensor by tensor"
    )
    verify.add_argument("model", help="the .keras file")
    verify.add_argument("file", help="the .tflite or .qsp file of it")
    verify.add_argument(
        "--data", required=True, help=".npz with an array per input, labels named 'y'"
    )
    verify.add_argument("--labels", help=".npz with the labels, if not in --data")
    verify.add_argument("--html", help="write a report with plots to this file")
    verify.add_argument("--json", action="store_true", help="print JSON")
    verify.add_argument(
        "--max-lsb", type=float, help="fail if any tensor is further off than this"
    )
    verify.add_argument(
        "--min-sqnr",
        type=float,
        default=10.0,
        help="fail if an output is further from the Keras model than this, in dB",
    )
    verify.add_argument(
        "--samples", type=int, default=32, help="samples to compare tensors on"
    )
    verify.add_argument(
        "--accuracy-samples", type=int, default=1000, help="samples to run in all"
    )
    verify.set_defaults(command=_verify)

    preview = commands.add_parser(
        "preview", help="show what a recipe would do to each layer, without training"
    )
    preview.add_argument("model", help="a .keras file")
    preview.add_argument("--recipe", help="a JSON file of Recipe.to_dict")
    preview.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the recipe, in JSON or as text: pattern=2:4, sparsity=0.5",
    )
    preview.add_argument("--json", action="store_true", help="print JSON")
    preview.set_defaults(command=_preview)

    study = commands.add_parser(
        "study", help="train many models, a row each, and say what they show"
    )
    study.add_argument("name", choices=["baselines", "interplay"], help="which study")
    study.add_argument(
        "config",
        type=Path,
        nargs="?",
        help="of interplay: a YAML file that says what is compared",
    )
    study.add_argument(
        "--output",
        type=Path,
        default=Path("study"),
        help="folder for rows and dense weights; call again to go on",
    )
    study.add_argument("--rows", type=Path, help="file of rows, if elsewhere")
    study.add_argument(
        "--only",
        nargs="+",
        default=["*"],
        metavar="NAME",
        help="runs, as 'resnet/*' or '*/sr-ste/2:4/int8/0'",
    )
    study.add_argument(
        "--seeds", type=int, help="of baselines: of each; 3 if not given"
    )
    study.add_argument(
        "--page", type=Path, help="of baselines: write what the rows say, in Markdown"
    )
    study.add_argument(
        "--report",
        type=Path,
        help="of interplay: a folder for its page, figures and tables",
    )
    study.add_argument("--list", action="store_true", help="name what is missing")
    study.add_argument("--quick", action="store_true", help="shows that it runs only")
    study.set_defaults(command=_study)

    pack = commands.add_parser("pack", help="make a file small for its way to a device")
    pack.add_argument("file", help="a .tflite file")
    pack.add_argument("output", help="the .qsp file to write")
    pack.set_defaults(command=_pack)

    unpack = commands.add_parser("unpack", help="give back the file that was packed")
    unpack.add_argument("file", help="a .qsp file")
    unpack.add_argument("output", help="the .tflite file to write")
    unpack.set_defaults(command=_unpack)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.files.write import check_folder

    check_folder(options.output)
    with quiet():  # TensorFlow greets on stderr
        demo = importlib.import_module("qsparse.recipes.demo")
    return int(demo.main(options.output, options.quick) or 0)


def _study(options: argparse.Namespace) -> int:
    of_others = {
        "interplay": {"--seeds": options.seeds, "--page": options.page},
        "baselines": {"a file": options.config, "--report": options.report},
    }
    for name, value in of_others[options.name].items():
        if value is not None:
            return _fail(f"the study {options.name} does not take {name}")
    with quiet():  # TensorFlow greets on stderr
        study = importlib.import_module(f"qsparse.recipes.study.{options.name}")
    shared = {
        "rows": options.rows,
        "only": options.only,
        "listed": options.list,
        "quick": options.quick,
    }
    try:
        if options.name == "interplay":
            path = options.config
            config = study.Config() if path is None else study.Config.read(path)
            return int(
                study.study(config, options.output, report=options.report, **shared)
            )
        seeds = 3 if options.seeds is None else options.seeds
        own = {"seeds": seeds, "page_path": options.page}
        return int(study.study(options.output, **own, **shared))
    except ImportError as error:
        return _fail(error)


def _inspect(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.inspect import inspect_file
    from qsparse.tflite_export.report.tables import inspection_table

    found = inspect_file(options.file)
    if options.json:
        _print_json(found.to_dict())
    else:
        console = SafeConsole()
        console.print(inspection_table(found, max(console.width, _LEAST_WIDTH)))
    return 0 if found.problem is None else _fail(found.problem)


def _preview(options: argparse.Namespace) -> int:
    config = {} if options.recipe is None else _read_recipe(options.recipe)
    config |= dict(_setting(entry) for entry in options.set)
    if not os.path.isfile(options.model):
        raise FileNotFoundError(f"no such file: {options.model}")
    with quiet():  # TensorFlow talks on stderr
        found = qsparse.preview(
            qsparse.load_model(options.model), qsparse.Recipe.from_dict(config)
        )
    if options.json:
        _print_json(found.to_dict())
    else:
        print("\n".join(plain(line) for line in str(found).splitlines()))
    return 0


def _read_recipe(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        try:
            config = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no recipe: it is no JSON object.")
    return config


def _setting(entry: str) -> tuple[str, Any]:
    """Returns key and value of "key=value"; the value is JSON, or else text."""
    key, equals, value = entry.partition("=")
    if not key or not equals:
        raise ValueError(f"--set takes KEY=VALUE, as in pattern=2:4. Got {entry!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _bench(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.bench import benchmark, benchmark_layers, check_arguments
    from qsparse.tflite_export.files.model_file import ModelFile
    from qsparse.tflite_export.report.tables import bench_table
    from qsparse.tflite_export.runtime.apart import check_runs

    arguments = {"threads": options.threads, "rounds": options.rounds}
    check_arguments(**arguments)
    ModelFile(options.file)  # says better than LiteRT what is damaged
    check_runs(options.file)
    with quiet():  # LiteRT talks on stderr
        reports = [benchmark(options.file, **arguments)]
        if options.per_layer:
            reports += benchmark_layers(options.file, **arguments)
    if options.json:
        _print_json([report.to_dict() for report in reports])
    else:
        SafeConsole().print(bench_table(reports, options.file))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.files.model_file import ModelFile
    from qsparse.tflite_export.files.npz import read_data
    from qsparse.tflite_export.files.source import check_order
    from qsparse.tflite_export.files.write import check_destination, write_whole
    from qsparse.tflite_export.runtime.apart import check_runs

    report = None if options.html is None else check_destination(options.html, ".html")
    if report is not None and importlib.util.find_spec("matplotlib") is None:
        raise ValueError("--html needs matplotlib: pip install 'keras-qsparse[plot]'")
    if options.max_lsb is not None and not options.max_lsb >= 0:
        raise ValueError(f"--max-lsb must be 0 or more, got {options.max_lsb}.")
    check_order(options.model, options.file)
    data = read_data(options.data, options.labels)
    if not os.path.isfile(options.model):
        raise FileNotFoundError(f"no such file: {options.model}")
    ModelFile(options.file)
    check_runs(options.file)
    with quiet():  # TensorFlow talks on stderr
        verification = importlib.import_module("qsparse.tflite_export.verify")
        found = verification.verify_file(
            options.model,
            options.file,
            data.inputs,
            data.labels,
            samples=options.samples,
            accuracy_samples=options.accuracy_samples,
            max_lsb=options.max_lsb,
            min_sqnr=options.min_sqnr,
        )
    from qsparse.tflite_export.report.html import to_html
    from qsparse.tflite_export.report.text import to_text

    if report is not None:
        with quiet():  # matplotlib misses glyphs of some names
            html = to_html(found)
        write_whole(report, html.encode(errors="backslashreplace"))
    if options.json:
        _print_json(found.to_dict())
    else:
        columns = shutil.get_terminal_size((_TEXT_WIDTH, 24)).columns
        print(to_text(found, min(max(columns, _LEAST_WIDTH), _TEXT_WIDTH)))
    return 1 if found.failures else 0


def _print_json(value: Any) -> None:
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """Returns a value with None for what JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pack(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.packing import pack

    print(plain(pack(options.file, options.output)))
    return 0


def _unpack(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.packing import unpack

    unpack(options.file, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
