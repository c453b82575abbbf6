"""Runs inside the emulator: every model with the delegate and without.

Arguments: the delegate, a folder of cases, and the ISAs and the kernels to force, with
commas; `auto` is the kernel the delegate would choose. A case is NAME.tflite, NAME.npy
with its input. Prints one line of JSON per case.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate

THREADS = (1, 2)


def run(model, x, threads, delegates=()):
    interpreter = Interpreter(
        model_path=str(model), experimental_delegates=delegates, num_threads=threads
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return [
        interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()
    ]


def compare(library, model, isa, kernel, threads, x, expected, plan):
    options = {"isa": isa, "min_gain": "0", "plan": str(plan)}
    if kernel != "auto":
        options["kernel"] = kernel
    actual = run(model, x, threads, [load_delegate(library, options)])
    layers = json.loads(plan.read_text())
    ours = [layer for layer in layers if layer["claimed"] and layer["isa"]]
    return {
        "isa": isa,
        "kernel": kernel,
        "threads": threads,
        "different": sum(
            int(np.count_nonzero(a != e)) for a, e in zip(actual, expected, strict=True)
        ),
        "layers": len(layers),
        "claimed": sum(layer["claimed"] for layer in layers),
        "used": sorted({layer["isa"] for layer in ours}),
        "kernels": sorted({layer["kernel"] for layer in ours if layer["kernel"]}),
    }


def main(library, folder, isas, kernels):
    with tempfile.TemporaryDirectory() as scratch:
        plan = pathlib.Path(scratch) / "plan.json"
        for model in sorted(pathlib.Path(folder).glob("*.tflite")):
            x = np.load(model.with_suffix(".npy"))
            expected = run(model, x, 1)
            runs = [
                compare(library, model, isa, kernel, threads, x, expected, plan)
                for isa in isas.split(",")
                for kernel in kernels.split(",")
                for threads in THREADS
            ]
            values = int(max(np.unique(y).size for y in expected))
            print(json.dumps({"case": model.stem, "values": values, "runs": runs}))


main(*sys.argv[1:])
