"""Every registered method through everything, one varied at a time, and at random."""

import pytest

from tests.compression import EVERY, drawn, one_method, run_compression_test


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_one_method(kind, name, tmp_path):
    traced = kind in ("criterion", "estimator", "regrowth")
    policies = ("mixed_float16",) if traced else ()
    run_compression_test(one_method(kind, name), tmp_path, policies)


@pytest.mark.parametrize("seed", range(20))
def test_methods_at_random(seed, tmp_path):
    case, refusals = drawn(seed)
    for reason in refusals:
        assert len(reason) > 40 and reason.endswith("."), reason
    run_compression_test(case, tmp_path)
