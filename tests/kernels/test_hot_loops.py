"""Disassemble the library: no inner loop may touch memory it does not have to.

A compiler that runs out of registers keeps accumulators on the stack, which costs
a third of the speed and no test of results would notice.
"""

import re

import iced_x86
import pytest
from elftools.elf.elffile import ELFFile

from . import runner


def instructions():
    """(address, mnemonic, operands) of the whole library, in AT&T order."""
    formatter = iced_x86.Formatter(iced_x86.FormatterSyntax.GAS)
    formatter.uppercase_hex = False
    with open(runner.LIBRARY, "rb") as file:
        text = ELFFile(file).get_section_by_name(".text")
        code, start = text.data(), text["sh_addr"]
    for step in iced_x86.Decoder(64, code, ip=start):
        assert not step.is_invalid, hex(step.ip)
        operands = formatter.format_all_operands(step)
        yield step.ip, formatter.format_mnemonic(step), operands


@pytest.fixture(scope="module")
def innermost_loops():
    """Straight-line bodies between a backward jump and its target."""
    code = list(instructions())
    index = {address: i for i, (address, _, _) in enumerate(code)}
    loops = []
    for i, (address, name, operands) in enumerate(code):
        target = operands.split()[0] if operands else ""
        if not name.startswith("j") or not re.fullmatch(r"(0x)?[0-9a-f]+", target):
            continue
        start = index.get(int(target, 16))
        if start is None or int(target, 16) > address:
            continue
        body = code[start:i]
        if not any(step[1].startswith(("j", "call", "ret")) for step in body):
            loops.append(body)
    return loops


def hot_loops(loops, mnemonic, register):
    return [
        body
        for body in loops
        if sum(name == mnemonic and register in args for _, name, args in body) >= 8
    ]


def stores(body):
    """Vector instructions whose destination, the last operand, is memory."""
    return [step for step in body if step[1].startswith("v") and step[2].endswith(")")]


def stack_accesses(body):
    return [step for step in body if re.search(r"\((%rsp|%rbp)", step[2])]


def assert_clean(body):
    assert not stores(body), stores(body)
    assert not stack_accesses(body), stack_accesses(body)


def fetches_ahead(body):
    """Only the kernels that read activations position by position do."""
    return any(name.startswith("prefetch") for _, name, _ in body)


def test_avx512vnni(innermost_loops):
    loops = hot_loops(innermost_loops, "vpdpbusd", "%zmm")
    loops = [body for body in loops if not fetches_ahead(body)]
    products = sorted(sum(n == "vpdpbusd" for _, n, _ in body) for body in loops)
    # One or two registers of positions come with two sets of accumulators; every
    # loop comes with and without column masks. The kernel for few positions has
    # four sets, of one (too few products to be listed), two and three registers.
    # Products of activations have six rows of two, three or four registers, and are
    # rounded in two ways.
    assert products == sorted([8, 12, 16, 16, 20, 24] * 2 + [8, 12] + [12, 18, 24] * 2)
    for body in loops:
        assert_clean(body)


def test_avx2(innermost_loops):
    loops = hot_loops(innermost_loops, "vpmaddwd", "%ymm")
    loops = [body for body in loops if not fetches_ahead(body)]
    products = sorted(sum(n == "vpmaddwd" for _, n, _ in body) for body in loops)
    assert products == sorted([8, 16] + [8] * 2)  # the last: products of activations
    for body in loops:
        assert_clean(body)


def test_avxvnni(innermost_loops):
    loops = hot_loops(innermost_loops, "vpdpbusd", "%ymm")
    loops = [body for body in loops if not fetches_ahead(body)]
    products = sorted(sum(n == "vpdpbusd" for _, n, _ in body) for body in loops)
    assert products == sorted([8, 12] + [12] * 2)  # the last: products of activations
    for body in loops:
        assert_clean(body)


@pytest.mark.parametrize(
    ("kernel", "mnemonic"),
    [("fine", "vpermb"), ("two_bit", "vpmultishiftqb"), ("rows_16x4", None)],
)
def test_avx512_rows(innermost_loops, kernel, mnemonic):
    marks = {"vpermb", "vpmultishiftqb"}
    loops = [
        body
        for body in hot_loops(innermost_loops, "vpdpbusd", "%zmm")
        if fetches_ahead(body)
        and {name for _, name, _ in body} & marks == ({mnemonic} - {None})
    ]
    products = sorted(sum(n == "vpdpbusd" for _, n, _ in body) for body in loops)
    # Tiles of 1 or 2 rows have four sets of accumulators, of up to 5 rows two; those
    # of 1, 3, 6 and 7 rows have too few products to be listed.
    assert products == sorted([2 * 4, 4 * 2, 5 * 2, *range(8, 29)]), kernel
    for body in loops:
        assert_clean(body)


@pytest.mark.parametrize(
    ("mnemonic", "at_once"), [("vpmaddwd", 1), ("vpdpbusd", 2)], ids=["avx2", "avxvnni"]
)
def test_ymm_rows(innermost_loops, mnemonic, at_once):
    loops = [
        body
        for body in hot_loops(innermost_loops, mnemonic, "%ymm")
        if fetches_ahead(body)
    ]
    products = sorted(sum(n == mnemonic for _, n, _ in body) for body in loops)
    # As above, but higher tiles may take two entries a round; then what may be left
    # over has a loop of its own.
    expected = [2 * 4, 4 * 2, 5 * 2, *(rows * at_once for rows in range(6, 13))]
    if at_once > 1:
        expected += range(6, 13)
    assert products == sorted(count for count in expected if count >= 8)
    for body in loops:
        assert "vpshufb" in {name for _, name, _ in body}
        assert_clean(body)
