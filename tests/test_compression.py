"""Every registered method through everything, one varied at a time."""

import pytest

from tests.compression import EVERY, one_method, run_compression_test


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_one_method(kind, name, tmp_path):
    traced = kind in ("estimator", "regrowth")
    policies = ("mixed_float16",) if traced else ()
    run_compression_test(one_method(kind, name), tmp_path, policies)
