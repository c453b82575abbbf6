"""Runs inside the emulator: invokes a model some times, without the delegate.

Arguments: the model, how often. Prints where LiteRT's code lies.
"""

import sys

from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
for _ in range(int(sys.argv[2])):
    interpreter.invoke()
with open("/proc/self/maps") as maps:
    for line in maps:
        place, rights, *_, name = line.split()
        if "x" in rights and name.endswith("libpywrap_litert_common.so"):
            print(place)
