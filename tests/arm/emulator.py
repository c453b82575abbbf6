"""An aarch64 Linux with Python and LiteRT, run by QEMU's user-mode emulation.

Everything comes from the package sources this machine is configured for, at locked
versions with locked checksums, and lies in one folder: nothing is installed and no
privilege is needed.
"""

import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import sys
import zipfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "arm"
KERNELS = ROOT / "tflite_export" / "kernels"
DEBIAN_LOCK = HERE / "debian.lock"
WHEELS_LOCK = HERE / "wheels.lock"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# The oldest kernels only; with dot products; with everything QEMU knows.
CPUS = {
    "cortex-a53": ("neon",),
    "cortex-a76": ("neon", "dotprod"),
    "max": ("neon", "dotprod", "i8mm"),
}
# What every one of them has; `auto` is not one.
EVERY_KERNEL = ("block_4x4", "fine", "rows_16x4")


class SetupError(RuntimeError):
    """The emulator cannot be set up on this machine."""


def command(*arguments, cwd=None, what):
    """The output of a command; its failure is a `SetupError` that says `what` for."""
    try:
        return subprocess.run(
            [str(argument) for argument in arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except FileNotFoundError as error:
        raise SetupError(f"{what} needs {arguments[0]}") from error
    except subprocess.CalledProcessError as error:
        tail = (error.stdout + error.stderr)[-2000:]
        raise SetupError(f"{what} failed:\n{tail}") from error


@dataclasses.dataclass(frozen=True)
class Package:
    """One line of debian.lock."""

    suite: str
    name: str
    architecture: str
    version: str
    sha256: str

    @property
    def file(self):
        """What `apt-get download` calls it."""
        version = self.version.replace(":", "%3a")
        return f"{self.name}_{version}_{self.architecture}.deb"


def locked_packages():
    """The packages of debian.lock."""
    lines = DEBIAN_LOCK.read_text().splitlines()
    return [Package(*line.split()) for line in lines if not line.startswith("#")]


def debian_archive():
    """Where this machine gets Debian from."""
    found = command(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
        what="finding the Debian archive",
    )
    for line in found.splitlines():
        uri, suite = line.split()
        if uri.rstrip("/").endswith("/debian") and not suite.endswith("-security"):
            return uri
    raise SetupError("no Debian archive among this machine's package sources")


def write_apt_state(folder, packages):
    """A private apt that knows the locked suites and never touches the system's."""
    archive = debian_archive()
    state = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    signed = f"signed-by={KEYRING} " if KEYRING.exists() else ""
    sources = ""
    for suite in sorted({package.suite for package in packages}):
        wanted = {p.architecture for p in packages if p.suite == suite}
        sources += (
            f"deb [{signed}arch={','.join(sorted(wanted))}] {archive} {suite} main\n"
        )
    (state / "sources.list").write_text(sources)
    config = state / "apt.conf"
    config.write_text(
        f'Dir::State "{state}";\n'
        f'Dir::State::status "{state}/status";\n'
        f'Dir::State::lists "{state}/lists";\n'
        f'Dir::Cache "{state}/cache";\n'
        f'Dir::Etc::sourcelist "{state}/sources.list";\n'
        'Dir::Etc::sourceparts "/dev/null";\n'
        'Dir::Etc::preferences "/dev/null";\n'
        'Dir::Etc::preferencesparts "/dev/null";\n'
        'APT::Architectures { "amd64"; "arm64"; };\n'
        'APT::Sandbox::User "root";\n'
        'Acquire::Languages "none";\n'
        'Acquire::Retries "3";\n'
    )
    return config


def download_packages(folder):
    """The locked .deb files, each with its checksum verified."""
    packages = locked_packages()
    config = write_apt_state(folder, packages)
    apt = ("env", f"APT_CONFIG={config}", "apt-get", "--quiet")
    command(*apt, "update", what="reading the Debian archive")
    debs = folder / "debs"
    debs.mkdir(exist_ok=True)
    names = [f"{p.name}:{p.architecture}={p.version}" for p in packages]
    command(
        *apt,
        "download",
        *names,
        cwd=debs,
        what="downloading Debian packages (a version that is gone: see debian.lock)",
    )
    for package in packages:
        actual = hashlib.sha256((debs / package.file).read_bytes()).hexdigest()
        if actual != package.sha256:
            raise SetupError(f"{package.file} is {actual}, not what is locked")
    return [(package, debs / package.file) for package in packages]


def download_wheels(folder):
    """The locked wheels; pip verifies their checksums."""
    wheels = folder / "wheels"
    platforms = ("manylinux_2_27_aarch64", "manylinux_2_28_aarch64", "any")
    command(
        sys.executable,
        *("-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes"),
        *(f"--platform={platform}" for platform in platforms),
        *("--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=none"),
        *("--dest", wheels, "--requirement", WHEELS_LOCK),
        what="downloading wheels",
    )
    return sorted(wheels.glob("*.whl"))


@dataclasses.dataclass(frozen=True)
class Emulator:
    """What `prepare` has set up."""

    folder: pathlib.Path

    @property
    def qemu(self):
        """The emulator itself."""
        return self.folder / "qemu" / "usr" / "bin" / "qemu-aarch64"

    @property
    def system(self):
        """The root of the guest's file system."""
        return self.folder / "system"

    def python(self, cpu, script, *arguments):
        """The command that runs a script in the guest, which sees the host's files."""
        return [
            str(part)
            for part in (
                *(self.qemu, "-cpu", cpu, "-L", self.system),
                *("-E", f"PYTHONHOME={self.system / 'usr'}"),
                *("-E", f"PYTHONPATH={self.system / 'opt'}"),
                *(self.system / "usr" / "bin" / "python3.11", "-S", script),
                *arguments,
            )
        ]


def prepare(folder=FOLDER):
    """The emulator; set up when the locks have changed since the last time."""
    emulator = Emulator(folder)
    locks = hashlib.sha256(DEBIAN_LOCK.read_bytes() + WHEELS_LOCK.read_bytes())
    stamp = folder / "stamp"
    if stamp.exists() and stamp.read_text() == locks.hexdigest():
        return emulator
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for package, deb in download_packages(folder):
        into = folder / "qemu" if package.name == "qemu-user" else emulator.system
        command("dpkg", "-x", deb, into, what="unpacking")
    for wheel in download_wheels(folder):
        zipfile.ZipFile(wheel).extractall(emulator.system / "opt")
    # Keep the one emulator of thirty, and none of what it all came in.
    for other in emulator.qemu.parent.iterdir():
        if other != emulator.qemu:
            other.unlink()
    for archive in ("apt", "debs", "wheels"):
        shutil.rmtree(folder / archive)
    stamp.write_text(locks.hexdigest())
    return emulator


def build(target, folder=FOLDER):
    """Builds a target of the kernels for aarch64 with zig; returns the build folder."""
    into = folder.parent / "arm-kernels"
    tools = pathlib.Path(sys.executable).parent
    command(
        *(tools / "cmake", "-S", KERNELS, "-B", into, "-G", "Ninja"),
        f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DQSPARSE_COUNT=ON",
        "-DQSPARSE_FUZZ=ON",
        what="configuring the kernels",
    )
    command(
        *(tools / "cmake", "--build", into, "--target", target),
        what=f"building {target}",
    )
    return into
