"""Disassemble the library for aarch64: the inner loops are as short as designed.

A spill, or a register moved to make room, costs speed that no test of results and,
without a machine to time on, nothing else would notice.
"""

import re

import capstone
import pytest
from elftools.elf.elffile import ELFFile

# Products of each loop, and the most instructions a loop of that many may have: two
# per block or pair to find the activations, two to end the loop, the loads. The row
# kernels have a loop per number of rows.
LOOPS = {
    ("sdot", "block_4x4"): {4: 9, 8: 14, 12: 19, 16: 23},
    ("smmla", "block_4x4"): {4: 12, 8: 20, 12: 28, 16: 34},
    ("sadalp", "block_4x4"): {8: 37, 16: 62},
    ("sdot", "fine"): {2 * rows: 7 + 5 * rows for rows in range(1, 11)},
    ("sadalp", "fine"): {2 * rows: 7 + 9 * rows for rows in range(1, 11)},
    ("sdot", "rows_16x4"): {4 * rows: 7 + 5 * rows for rows in range(1, 6)},
    ("sadalp", "rows_16x4"): {4 * rows: 11 + 15 * rows for rows in range(1, 5)},
}


def kernel_of(body):
    """Which kernel a loop belongs to, by how it reads activations."""
    if any(step.mnemonic == "tbl" for step in body):
        return "fine"
    four_bytes = any(re.match(r"ldr s\d", f"{x.mnemonic} {x.op_str}") for x in body)
    return "rows_16x4" if four_bytes else "block_4x4"


@pytest.fixture(scope="module")
def innermost_loops(library):
    """Straight-line bodies from a backward branch's target to the branch."""
    with open(library, "rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        code, start = text.data(), text["sh_addr"]
    machine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    machine.skipdata = True
    steps = list(machine.disasm(code, start))
    index = {step.address: i for i, step in enumerate(steps)}
    loops = []
    for i, step in enumerate(steps):
        target = re.search(r"#(0x[0-9a-f]+)$", step.op_str)
        if not is_branch(step) or target is None or int(target[1], 16) > step.address:
            continue
        first = index.get(int(target[1], 16))
        if first is not None and not any(map(is_branch, steps[first:i])):
            loops.append(steps[first : i + 1])
    assert loops
    return loops


def is_branch(step):
    return step.mnemonic.split(".")[0] in (
        *("b", "bl", "br", "blr", "ret"),
        *("cbz", "cbnz", "tbz", "tbnz"),
    )


@pytest.mark.parametrize(("product", "kernel"), LOOPS)
def test_inner_loops(innermost_loops, product, kernel):
    found = {}
    for body in innermost_loops:
        products = sum(step.mnemonic == product for step in body)
        if products == 0 or kernel_of(body) != kernel:
            continue
        lines = [f"{step.mnemonic} {step.op_str}" for step in body]
        assert products not in found, "two loops of the same kind"
        found[products] = len(body)
        assert not [line for line in lines if line.startswith("st")], lines
        assert not [line for line in lines if "[sp" in line], lines
        assert not [line for line in lines if re.match(r"mov v\d", line)], lines
    assert found.keys() == LOOPS[product, kernel].keys()
    assert all(found[n] <= most for n, most in LOOPS[product, kernel].items()), found
