"""Counts instructions: the emulator says what it translates and what it executes.

Code is translated and executed in straight-line blocks. The log has every block once
with its instructions, and a line for every execution of one. A program that writes
`section NAME` to its standard error divides the log.
"""

import collections
import re
import subprocess

EXECUTED = re.compile(rb"Trace \d+: \S+ \[\w+/(\w+)/")
SECTION = b"section "
FLAGS = ("-d", "exec,nochain,in_asm")


def count(command):
    """Instructions by section and function (empty: unknown); the words it prints.

    `command` has the FLAGS among the emulator's.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    executions = collections.defaultdict(collections.Counter)
    lengths, functions = {}, {}
    section, name, block = "", b"", None
    for line in process.stderr:
        if executed := EXECUTED.match(line):
            executions[section][int(executed[1], 16)] += 1
        elif line.startswith(b"IN:"):
            name, block = line[3:].strip(), None
        elif line.startswith(b"0x"):
            address = int(line[2 : line.index(b":")], 16)
            block = address if block is None else block
            lengths[block] = (address - block) // 4 + 1
            functions[block] = name
        elif line.startswith(SECTION):
            section = line[len(SECTION) :].decode().strip()
    output = process.stdout.read().decode().split()
    if process.wait() != 0:
        raise RuntimeError(f"failed: {command}")
    counts = collections.defaultdict(collections.Counter)
    for section, blocks in executions.items():
        for address, times in blocks.items():
            counts[section][functions[address]] += times * lengths[address]
    return counts, output
