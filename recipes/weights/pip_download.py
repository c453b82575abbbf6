"""One pinned archive from whatever package index pip is configured for.

pip knows the mirror, proxy, certificates and credentials of this machine, so it is
asked and no index is read here. It also builds the metadata of a source archive
before it hands the archive out, which means running the archive's `setup.py`. No
option turns that off. So pip is given a build backend of ours in the place of
setuptools: it copies the metadata that every source archive carries, and nothing
of the archive is run.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

_WHEEL_OPTIONS = (
    "--only-binary=:all:",
    # A wheel is read, not installed: the same one on every machine.
    *("--python-version=3.11", "--implementation=cp", "--abi=cp311"),
    "--platform=manylinux_2_28_x86_64",
)
_SOURCE_OPTIONS = ("--no-binary=:all:", "--no-build-isolation")
_BACKEND = """
import email, pathlib, sys

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    metadata = pathlib.Path("PKG-INFO").read_bytes()
    fields = email.message_from_bytes(metadata)
    target = pathlib.Path(folder, f"{fields['Name']}-{fields['Version']}.dist-info")
    target.mkdir()
    (target / "METADATA").write_bytes(metadata)
    return target.name

__legacy__ = sys.modules[__name__]
"""


def pip_download(requirement: str, sha256: str, folder: Path, *, wheel: bool) -> None:
    """Downloads one archive; nothing of it is installed, imported or run.

    Args:
        requirement: name and version, such as "numpy==2.4.6".
        sha256: of the archive, in hexadecimal; pip takes no other.
        folder: where to put it; must exist.
        wheel: a wheel (of CPython 3.11 on x86-64 Linux, if it depends on that), or
            the source archive.

    Raises:
        RuntimeError: pip failed; the message is the end of what it said.
    """
    with tempfile.TemporaryDirectory() as temporary:
        pinned = Path(temporary, "requirements.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        environment = dict(os.environ)
        if not wheel:
            backend = Path(temporary, "backend", "setuptools")
            backend.mkdir(parents=True)
            (backend / "__init__.py").touch()
            (backend / "build_meta.py").write_text(_BACKEND)
            environment |= {"PYTHONPATH": str(backend.parent), "PIP_USE_PEP517": "1"}
        run = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet"),
                *("--disable-pip-version-check", "--no-deps", "--require-hashes"),
                *(_WHEEL_OPTIONS if wheel else _SOURCE_OPTIONS),
                *("--dest", str(folder), "--requirement", str(pinned)),
            ],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
        )
    if run.returncode:
        lines = (run.stdout + run.stderr).strip().splitlines()
        raise RuntimeError("\n".join(lines[-8:]))
