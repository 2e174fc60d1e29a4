"""Make Function Compute's code package: `python3 scripts/package.py [--if-changed] [--output dist/function.zip]`.

The package holds what a Linux x86-64 instance with CPython 3.12 needs and nothing else: bootstrap, code/, and the
libraries of requirements.txt under python/, with compiled bytecode. It can be made on any system that has pip: the
libraries are fetched as wheels for the target, never built here. The same inputs give the same bytes.

With LOCAL_EMBEDDER=1 in the environment it also holds the local embedder (33 MB), with LOCAL_EMBEDDER=0 it does not;
without the variable it is as the package that is there, or does not.

`s deploy` runs this too, with the developer's own python3; so it needs nothing but the standard library and pip.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VERSION = "3.12"  # what custom.debian11 ships
GLIBC_MINORS = range(31, 16, -1)  # Debian 11 has 2.31; a wheel may ask for any older one down to 2.17
LIBRARIES = "requirements.txt"
LOCAL_EMBEDDER = "requirements-local-embedder.txt"
INPUTS = ("code", "bootstrap", LIBRARIES, LOCAL_EMBEDDER, "scripts/package.py")
_WITH_EMBEDDER = " with the local embedder"  # at the end of an archive's comment

# What no instance ever loads. Libraries as such are all kept: those that Mem0 imports with itself must be, while
# qdrant-client, grpc and PostHog might be left out (memory/mem0/engine.py puts empty classes there; not tried).
UNUSED_DIRECTORIES = {"tests", "test", "include", "__pycache__", "bin"}
UNUSED_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h", ".hpp", ".cpp", ".a", ".pyc"}
UNUSED_METADATA = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # they name this machine's paths


class PackagingError(Exception):
    """The package cannot be made; the text says why, for the person at the terminal."""


def wants_embedder(output: Path) -> bool:
    """Whether the package is to hold the local embedder. Raises PackagingError."""
    asked = os.environ.get("LOCAL_EMBEDDER", "")
    if asked not in ("", "0", "1"):
        raise PackagingError("LOCAL_EMBEDDER is neither 0 nor 1")
    return asked == "1" or (asked == "" and (comment_of(output) or "").endswith(_WITH_EMBEDDER))


def comment_for(root: Path, *, embedder: bool) -> str:
    """What a package made now carries: it tells whether one is up to date."""
    return digest_of_inputs(root) + (_WITH_EMBEDDER if embedder else "")


def digest_of_inputs(root: Path) -> str:
    """SHA-256 of everything of ours that goes into the package, and of the versions it pins."""
    digest = hashlib.sha256()
    for file in sorted(own_files(root, INPUTS)):
        digest.update(f"{file.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def own_files(root: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        path = root / name
        found = path.rglob("*") if path.is_dir() else [path]
        yield from (f for f in found if f.is_file() and "__pycache__" not in f.parts)


def find_compiler() -> str | None:
    """A CPython of the target's version on this machine: only it can write bytecode that the instance will read."""
    candidates = [
        os.environ.get("PYTHON312"),
        sys.executable,
        shutil.which("python" + PYTHON_VERSION),
        *map(str, sorted(Path.home().glob(f".pyenv/versions/{PYTHON_VERSION}.*/bin/python"))),
    ]
    question = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        with contextlib.suppress(OSError):
            answer = subprocess.run([candidate, "-c", question], capture_output=True, text=True, check=False)  # noqa: S603
            if answer.stdout.split() == ["cpython", PYTHON_VERSION]:
                return candidate
    return None


def install_libraries(requirements: Sequence[Path], target: Path) -> None:
    """Wheels for the instance into `target`. Raises PackagingError."""
    platforms = ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in GLIBC_MINORS)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON_VERSION),
        *(word for platform in platforms for word in ("--platform", platform)),
        *("--target", str(target)),
        *(word for file in requirements for word in ("--requirement", str(file))),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise PackagingError(f"pip could not fetch the libraries:\n{done.stderr.strip()}")


def prune(libraries: Path) -> None:
    """Delete what no instance loads."""
    for directory in sorted((d for d in libraries.rglob("*") if d.is_dir()), reverse=True):
        if directory.name in UNUSED_DIRECTORIES:
            shutil.rmtree(directory, ignore_errors=True)
    for file in [f for f in libraries.rglob("*") if f.is_file()]:
        if file.suffix in UNUSED_SUFFIXES or (file.parent.suffix == ".dist-info" and file.name in UNUSED_METADATA):
            file.unlink()


def compile_bytecode(stage: Path, compiler: str) -> None:
    """.pyc beside every .py; unchecked, because the sources never change there and their dates mean nothing."""
    command = [
        *(compiler, "-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash"),
        *("-s", str(stage), "-p", "/code", str(stage)),
    ]
    # For the same bytes each time: one process (what marshal shares depends on what was compiled before), one hash seed
    # (the order of a frozenset constant depends on it).
    # Its status is not looked at: a few libraries carry files for Python 2 that nobody imports.
    subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"})  # noqa: S603
    if not (stage / "tablestore_openmemory_mcp" / "__pycache__").is_dir():
        raise PackagingError(f"{compiler} wrote no bytecode")


def write_zip(stage: Path, output: Path, comment: str) -> None:
    """All of `stage` in one archive, in a fixed order with fixed dates and modes; written whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.comment = comment.encode()
        for file in sorted(f for f in stage.rglob("*") if f.is_file()):
            entry = zipfile.ZipInfo(file.relative_to(stage).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every system: the mode below is read only then
            entry.external_attr = (0o100755 if file.name == "bootstrap" else 0o100644) << 16
            archive.writestr(entry, file.read_bytes())
    partial.replace(output)


def comment_of(archive: Path) -> str | None:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.comment.decode(errors="replace")
    except (OSError, zipfile.BadZipFile):
        return None


def build(root: Path, output: Path, *, embedder: bool) -> None:
    """Make `output` from the project at `root`. Raises PackagingError."""
    compiler = find_compiler()
    comment = comment_for(root, embedder=embedder)  # before: a change made meanwhile means another build
    with tempfile.TemporaryDirectory(prefix="function-") as temporary:
        stage = Path(temporary) / "code"
        shutil.copytree(root / "code", stage, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(root / "bootstrap", stage)
        install_libraries([root / LIBRARIES, *([root / LOCAL_EMBEDDER] if embedder else [])], stage / "python")
        prune(stage / "python")
        if compiler:
            compile_bytecode(stage, compiler)
        else:
            print(
                f"warning: no CPython {PYTHON_VERSION} here (set PYTHON312), so the package carries no bytecode and "
                "each instance starts about a second later.",
                file=sys.stderr,
            )
        unpacked = sum(f.stat().st_size for f in stage.rglob("*") if f.is_file())
        write_zip(stage, output, comment)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB zipped, {unpacked / 1e6:.1f} MB unpacked")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "function.zip")
    parser.add_argument("--if-changed", action="store_true", help="do nothing if the package is already up to date")
    arguments = parser.parse_args()
    try:
        embedder = wants_embedder(arguments.output)
        if arguments.if_changed and comment_of(arguments.output) == comment_for(ROOT, embedder=embedder):
            print(f"{arguments.output}: up to date")
            return 0
        build(ROOT, arguments.output, embedder=embedder)
    except PackagingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
