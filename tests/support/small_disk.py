"""A disk of a few megabytes, to be filled: a tmpfs of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK = 4096


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """`folder`, made and mounted. Whoever is root but may not mount fails; others skip, and are told why."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        (pytest.fail if os.geteuid() == 0 else pytest.skip)(f"no tmpfs can be mounted: {done.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave not one free block on the disk; what is there already stays."""
    with (folder / f"filler-{len(list(folder.iterdir()))}").open("wb", buffering=0) as file:
        for size in (1 << 20, _BLOCK):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass


def empty(folder: Path) -> None:
    """Take away what `fill` made."""
    for path in folder.glob("filler-*"):
        path.unlink()
