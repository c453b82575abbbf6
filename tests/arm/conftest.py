"""The emulated machine and the library it runs, made once."""

import pytest

from . import emulator


@pytest.fixture(scope="session")
def machine():
    """The emulator, downloaded if need be."""
    return emulator.prepare()


@pytest.fixture(scope="session")
def library():
    """The delegate for aarch64, built if need be."""
    return emulator.build("qsparse_delegate") / "libqsparse_delegate.so"
