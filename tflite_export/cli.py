"""The `qsparse` command."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable

from rich.console import Console

from qsparse.tflite_export.quiet import quiet


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; bad input ends in one line on stderr and exit code 2.

    Args:
        arguments: command line without the program; None takes `sys.argv`.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"qsparse: error: {message}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qsparse",
        description="Sparse int8 Keras models: try, inspect, measure, verify, pack.",
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
    bench.add_argument("--threads", type=int, default=1)
    bench.add_argument("--rounds", type=int, default=60)
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
    with quiet():  # TensorFlow greets on stderr
        demo = importlib.import_module("qsparse.recipes.demo")
    return int(demo.main(options.output, options.quick) or 0)


def _inspect(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.inspect import inspect_file
    from qsparse.tflite_export.tables import inspection_table

    found = inspect_file(options.file)
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        Console().print(inspection_table(found))
    return 0


def _bench(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.bench import benchmark, benchmark_layers
    from qsparse.tflite_export.tables import bench_table

    arguments = {"threads": options.threads, "rounds": options.rounds}
    reports = [benchmark(options.file, **arguments)]
    if options.per_layer:
        reports += benchmark_layers(options.file, **arguments)
    if options.json:
        print(json.dumps([report.to_dict() for report in reports], indent=2))
    else:
        Console().print(bench_table(reports, options.file))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.data_file import read_data
    from qsparse.tflite_export.files import check_destination, write_whole

    report = None if options.html is None else check_destination(options.html, ".html")
    data = read_data(options.data, options.labels)
    with quiet():  # TensorFlow talks on stderr
        verification = importlib.import_module("qsparse.tflite_export.verification")
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
    from qsparse.tflite_export.html_report import to_html
    from qsparse.tflite_export.verification_text import to_text

    if report is not None:
        write_whole(report, to_html(found).encode())
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(to_text(found))
    return 1 if found.failures else 0


def _pack(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.packing import pack

    print(pack(options.file, options.output))
    return 0


def _unpack(options: argparse.Namespace) -> int:
    from qsparse.tflite_export.packing import unpack

    unpack(options.file, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
