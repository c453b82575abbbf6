"""Runs inside the emulator: invokes models, without the delegate.

Arguments: the models. Every one has a section of the emulator's log to itself, which
holds its second invocation. Prints where LiteRT's code lies.
"""

import os
import pathlib
import sys

from ai_edge_litert.interpreter import Interpreter


def begin(section):
    os.write(2, f"section {section}\n".encode())


for path in sys.argv[1:]:
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.invoke()
    begin(pathlib.Path(path).stem)
    interpreter.invoke()
    begin("")
with open("/proc/self/maps") as maps:
    for line in maps:
        place, rights, *_, name = line.split()
        if "x" in rights and name.endswith("libpywrap_litert_common.so"):
            print(place)
