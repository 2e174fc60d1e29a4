"""Server processes as a user would start them: a clean environment, a real port, real signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tablestore_emulator.testing import Emulator

from . import discretion

COMMAND = (sys.executable, "-m", "tablestore_openmemory_mcp")
START = 60.0  # seconds; the machine may be busy with other tests
_LISTENING = re.compile(r"^listening\s+http://.*:(\d+)\s*$", re.MULTILINE)


def clean_environ(home: Path, **variables: str) -> dict[str, str]:
    """What a process gets that inherits nothing from this one: no keys, no DATA_DIR of the developer's.

    Without a key no embedder either: to load the local one takes 100 MB and a second of each process, which only a test
    about it should pay (EMBEDDER="auto").
    """
    has_key = any(name.endswith("_API_KEY") for name in variables)
    return {
        **({} if has_key else {"EMBEDDER": "none"}),
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "STORE": "embedded",
        "DATA_DIR": str(home / "data"),
        **variables,
    }


def tablestore_environ(emulator: Emulator) -> dict[str, str]:
    """What a server process needs to keep its memories in this emulator."""
    return {
        "STORE": "tablestore",
        "TABLESTORE_ENDPOINT": emulator.endpoint,
        "TABLESTORE_INSTANCE_NAME": emulator.instance,
        "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
        "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
    }


class Server:
    """`with Server(home, OPENAI_API_KEY=...) as server:` is an SSE server that listens on a port of its own."""

    def __init__(self, home: Path, *, command: Sequence[str] = COMMAND, **variables: str) -> None:
        network = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": "0"}
        self._environ = clean_environ(home, **{**network, **variables})
        self._command = [*command, "--transport=sse"]
        self._log = home / f"server-{time.monotonic_ns()}.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                self._command, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    @property
    def data_dir(self) -> Path:
        return Path(self._environ["DATA_DIR"])

    @property
    def log(self) -> str:
        """Everything it printed so far."""
        return self._log.read_text("utf-8", errors="replace")

    @property
    def port(self) -> int:
        """Where it listens. Waits for the line that says so."""
        wait_until(lambda: _LISTENING.search(self.log) or self.process.poll() is not None, START, lambda: self.log)
        found = _LISTENING.search(self.log)
        assert found, f"the server ended with {self.process.returncode}:\n{self.log}"
        return int(found[1])

    def url(self, client: str, user: str) -> str:
        """The SSE address of a client and a user."""
        return f"http://127.0.0.1:{self.port}/mcp/{quote(client, safe='')}/sse/{quote(user, safe='')}"

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self.process.kill()
        self.process.wait(START)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        if kind is None:
            discretion.check(self.log)


def run_to_end(home: Path, *arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The command with these arguments, when it is expected to end by itself: a wrong configuration, --help."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=clean_environ(home, **environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START,
        check=False,
    )


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], object], timeout: float, explain: Callable[[], str] = str) -> None:
    """Poll `condition()` until it is true. Raises TimeoutError with `explain()`."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {explain()}")
        time.sleep(0.02)
