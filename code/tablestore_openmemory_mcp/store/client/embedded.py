"""The keyless mode's Tablestore: one emulator per data directory, shared by every process that uses the directory.

The first process starts it as a child; the others attach to the address it left in the directory. When the first one
ends, however it ends, the child sees its standard input close and stops, and whoever needs the store next starts
another on the same port with the same key.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from ...errors import StoreDamaged, StoreError, StoreUnavailable
from .connection import ConnectionInfo, Credentials
from .private_files import OWNER_ONLY, close_to_others, kept_key, opened_private, warn_of_others

EXIT_IN_USE = 3  # of the emulator: another one serves this directory
KEY_VARIABLE = "TABLESTORE_EMULATOR_ACCESS_KEY"  # the environment is private to the user; a command line is not
START_SECONDS = 60.0  # generous: a loaded machine imports slowly
STOP_SECONDS = 10.0
ANSWER_SECONDS = 5.0
DAMAGED = "keep a copy of the whole folder"  # what the emulator says of damaged files
_POLL_SECONDS = 0.02
_LOG_BYTES = 64 * 1024


class EmbeddedConnector:
    """See Connector. Files in `data_dir`: `tablestore/` (the data), `store.json`, `store.key`, `store.log`."""

    place = "The embedded store"
    setting = "DATA_DIR"

    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir
        self._ready = self._dir / "store.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._warned = False

    def connect(self, deadline: float) -> ConnectionInfo:
        """Attach, or start it. Takes over if it has died. Raises StoreError."""
        until = max(deadline, time.monotonic() + START_SECONDS)
        with self._lock:
            try:
                self._prepare()
                return self._attached() or self._attached_or_started(until)
            except OSError as e:
                why = f"The data directory cannot be used: {e.strerror or e}."
                raise StoreError(why, setting=self.setting, detail=str(self._dir)) from e

    def _prepare(self) -> None:
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._warned:
            self._warned = True
            warn_of_others(self._dir)

    def use_credentials(self, credentials: Credentials) -> None:
        """Nothing to do: the embedded store has its own."""

    def close(self) -> None:
        """Stop the emulator if this process started it; acknowledged writes are safe either way."""
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            return
        _close_input(child)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _attached_or_started(self, until: float) -> ConnectionInfo:
        from filelock import FileLock, Timeout  # not in Function Compute's package

        try:
            # One start at a time: of sixteen processes at a fresh directory, fifteen wait here and attach.
            close_to_others(self._dir / "store.lock")
            with FileLock(self._dir / "store.lock", mode=OWNER_ONLY, timeout=max(0.1, until - time.monotonic())):
                while True:
                    info = self._attached() or self._started(until)
                    if info:
                        return info
                    if time.monotonic() >= until:
                        raise StoreUnavailable(
                            "Another process holds the data directory, but serves nothing.",
                            setting=self.setting,
                            detail=str(self._dir),
                        )
                    time.sleep(_POLL_SECONDS)
        except Timeout:
            why = "Another process keeps starting on the data directory."
            raise StoreUnavailable(why, setting=self.setting, detail=str(self._dir)) from None

    def _attached(self) -> ConnectionInfo | None:
        """The address in the directory, if the emulator with our key answers there."""
        info = self._address()
        return info if info and _answers(info) else None

    def _address(self, of_pid: int | None = None) -> ConnectionInfo | None:
        """The address in the directory; `of_pid`: only if that process left it."""
        try:
            found = json.loads(self._ready.read_text())
            if of_pid not in (None, found["pid"]):
                return None
            credentials = Credentials(found["access_key_id"], found["access_key_secret"])
            return ConnectionInfo(found["endpoint"], found["instance"], credentials)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # half-written, or not ours
            return None

    def _started(self, until: float) -> ConnectionInfo | None:
        """Start the emulator; None if another one still (or already) holds the directory."""
        if find_spec("tablestore_emulator") is None:
            raise StoreError("The embedded store is not part of this installation.", setting="STORE")
        last = self._address()
        port = last.endpoint.rpartition(":")[2] if last else "0"
        used = f"{last.credentials.access_key_id}:{last.credentials.access_key_secret}" if last else ""
        log = self._dir / "store.log"
        with opened_private(log) as errors:
            child = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tablestore_emulator"),
                    *("--data", str(self._dir / "tablestore"), "--ready-file", str(self._ready)),
                    *("--port", port, "--port-fallback", "--exit-with-parent"),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # ours may be an MCP client's
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for us; we stop it when the last write is done
                env={**os.environ, KEY_VARIABLE: kept_key(self._dir / "store.key", used)},
            )
        while child.poll() is None and time.monotonic() < until:
            info = self._address(of_pid=child.pid)
            if info:
                self._child = child
                return info
            time.sleep(_POLL_SECONDS)
        self._explain(child, log)
        return None

    def _explain(self, child: "subprocess.Popen[bytes]", log: Path) -> None:
        if child.poll() is None:
            child.kill()
            child.wait()
            raise StoreUnavailable("The embedded store did not start in time.", setting=self.setting)
        _close_input(child)
        if child.returncode != EXIT_IN_USE:
            said = log.read_text(errors="replace").strip().splitlines()
            why = said[-1].removeprefix("tablestore-emulator: ") if said else self._silent(child.returncode)
            kind = StoreDamaged if DAMAGED in why else StoreError
            shown = why.replace(str(self._dir), "DATA_DIR").rstrip(".")
            raise kind(f"The embedded store did not start: {shown}.", setting=self.setting, detail=why)

    def _silent(self, status: int) -> str:
        """What it was that kept the emulator from saying why."""
        full = shutil.disk_usage(self._dir).free < _LOG_BYTES
        return "the disk is full, and nothing can be written to its log" if full else f"status {status}"


def _answers(info: ConnectionInfo) -> bool:
    """Whether an emulator with this key is at this address: the SDK checks the signature of what answers."""
    import tablestore as sdk
    from tablestore.retry import NoRetryPolicy

    from .sdk_client import LOGGER

    client = sdk.OTSClient(
        info.endpoint,
        info.credentials.access_key_id,
        info.credentials.access_key_secret,
        info.instance,
        retry_policy=NoRetryPolicy(),
        socket_timeout=ANSWER_SECONDS,
        logger_name=LOGGER,
    )
    try:
        client.list_table()
    except sdk.OTSServiceError as e:
        return bool(e.code != "OTSAuthFailed")
    except Exception:
        return False
    finally:
        client.connection.pool.clear()
    return True


def _close_input(child: "subprocess.Popen[bytes]") -> None:
    if child.stdin:
        child.stdin.close()
