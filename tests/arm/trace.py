"""Counts instructions: the emulator says what it translates and what it executes.

Code is translated and executed in straight-line blocks. The log has every block once
with its instructions, and a line for every execution of one.
"""

import collections
import re
import subprocess

EXECUTED = re.compile(rb"Trace \d+: \S+ \[\w+/(\w+)/")
FLAGS = ("-d", "exec,nochain,in_asm")


def count(command):
    """Instructions by function (empty: unknown), and the words the program prints.

    `command` has the FLAGS among the emulator's.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    executions, lengths, functions = collections.Counter(), {}, {}
    name, block = b"", None
    for line in process.stderr:
        if executed := EXECUTED.match(line):
            executions[int(executed[1], 16)] += 1
        elif line.startswith(b"IN:"):
            name, block = line[3:].strip(), None
        elif line.startswith(b"0x"):
            address = int(line[2 : line.index(b":")], 16)
            block = address if block is None else block
            lengths[block] = (address - block) // 4 + 1
            functions[block] = name
    output = process.stdout.read().split()
    if process.wait() != 0:
        raise RuntimeError(f"failed: {command}")
    counts = collections.Counter()
    for address, times in executions.items():
        counts[functions[address]] += times * lengths[address]
    return counts, output
