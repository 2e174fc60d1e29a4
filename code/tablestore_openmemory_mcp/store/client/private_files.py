"""Files that are this user's alone: whole or not there at all, and never readable by others."""

import logging
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

OWNER_ONLY = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEY = re.compile(r"embedded:[0-9a-f]{64}")


def kept_key(path: Path, last: str = "") -> str:
    """The emulator's access key, ID:SECRET, kept in `path`; random. `last`: the one that the last emulator had.

    Written anew if it is not there or is not a whole key: an empty one would be read as the emulator's published
    default. That is `last` where possible, which other processes still use. If others could read the file, the key is
    a new one: nothing is encrypted with it, so nothing is lost. Raises OSError.
    """
    try:
        key = path.read_bytes().decode("ascii", errors="replace").strip()
        exposed = _open_to_others(path)
    except FileNotFoundError:
        key, exposed = "", False
    else:
        if _KEY.fullmatch(key) and not exposed:
            return key
        logger.warning("%s %s; it was replaced", path.name, "could be read by others" if exposed else "was damaged")
    key = last if _KEY.fullmatch(last) and not exposed else f"embedded:{secrets.token_hex(32)}"
    write_private(path, key)
    return key


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text`, on the disk when this returns; after a crash the old text is there or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # of a process that died, and had this one's number
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a directory cannot be opened, nor need be
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def opened_private(path: Path) -> BinaryIO:
    """`path`, empty, to be written. One that is there already is closed to others first."""
    close_to_others(path)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY), "wb")


def close_to_others(path: Path) -> None:
    """Take everybody else's rights to a file of ours, if it is there."""
    with suppress(FileNotFoundError, PermissionError):  # of another owner: it is theirs to close
        if _open_to_others(path):
            path.chmod(OWNER_ONLY)


def warn_of_others(folder: Path) -> None:
    """Say in the log that others of this machine can look into `folder`. It is not changed: the owner may mean it."""
    if os.name == "posix" and _open_to_others(folder):
        mode = stat.S_IMODE(folder.stat().st_mode)
        logger.warning("other users of this machine may open DATA_DIR (mode %o); if not meant: chmod 700", mode)


def _open_to_others(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & _OTHERS)
