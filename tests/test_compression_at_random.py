"""Registered methods of all kinds beside one another, drawn at random."""

import os

import pytest

from tests.compression import drawn, run_compression_test

SEEDS = range(20) if os.environ.get("QSPARSE_EVERY_METHOD") == "1" else range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_methods_at_random(seed, tmp_path):
    case, refusals = drawn(seed)
    for reason in refusals:
        assert len(reason) > 40 and reason.endswith("."), reason
    run_compression_test(case, tmp_path, ("mixed_float16",) if seed < 2 else ())
