"""An emulator for tests: a real child process, spoken to over TCP, with faults that a test can set.

with Emulator() as emulator:
    client = tablestore.OTSClient(emulator.endpoint, emulator.key_id, emulator.secret, emulator.instance)
    emulator.fault(apis="PutRow", error="OTSServerBusy", times=2)
"""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

STOP_SECONDS = 60  # generous: the machine may be busy


class Emulator:
    """Starts in `with`, or by `start`. `data` None keeps everything in memory; faults as in faults.py."""

    def __init__(
        self, data: Path | None = None, *, options: Sequence[str] = (), python: str = sys.executable, **faults: Any
    ) -> None:
        self._data = data
        self._options = list(options)
        self._python = python
        self._faults = faults
        self._process: subprocess.Popen[str] | None = None
        self.endpoint = self.instance = self.key_id = self.secret = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the process and wait until it listens. Raises RuntimeError with what it said if it does not."""
        command = [self._python, "-m", "tablestore_emulator", "--port", "0", "--exit-with-parent", *self._options]
        if self._data is not None:
            command += ["--data", str(self._data)]
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._process = process
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RuntimeError(f"the emulator ended with status {self.stop()}")
        ready = json.loads(line)
        self.endpoint, self.instance = ready["endpoint"], ready["instance"]
        self.key_id, self.secret = ready["access_key_id"], ready["access_key_secret"]
        if self._faults:
            self.set_faults(**self._faults)
        return self

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise RuntimeError("the emulator is not running")
        return self._process.pid

    def stop(self) -> int:
        """End it gracefully; its exit status."""
        return self._end(kill=False)

    def kill(self) -> int:
        """End it as a crash would (SIGKILL)."""
        return self._end(kill=True)

    def _end(self, *, kill: bool) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.kill() if kill else process.terminate()
        status = process.wait(STOP_SECONDS)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        return status

    def fault(self, **rule: Any) -> None:
        """Add one rule (see faults.Rule); it is tried after those that are there."""
        self.set_faults(rules=[*self.faults()["rules"], rule])

    def set_faults(self, **values: Any) -> dict[str, Any]:
        """Change some settings of faults.Faults; all of them as they are then."""
        return self._admin("PUT", "faults", values)

    def clear_faults(self) -> None:
        """Everything works again, at once."""
        self.set_faults(rules=[], table_ready_after=0, index_ready_after=0, index_lag=0, replica_lags=[0], clock_skew=0)

    def faults(self) -> dict[str, Any]:
        """The faults, with how often each rule has `fired`."""
        return self._admin("GET", "faults")

    def calls(self) -> dict[str, int]:
        """How often each API was called since the start."""
        return self._admin("GET", "calls")

    def units(self) -> dict[str, int]:
        """Capacity units that rows have consumed since the start, "read" and "write"; those of searches not."""
        return self._admin("GET", "units")

    def add_credential(
        self, key_id: str, secret: str, token: str | None = None, expires_at: float | None = None
    ) -> None:
        """Accept (or replace) an access key; a temporary one has a token and may expire (seconds since the epoch)."""
        self._admin(
            "PUT", "credentials", {"key_id": key_id, "secret": secret, "token": token, "expires_at": expires_at}
        )

    def _admin(self, method: str, what: str, body: Any = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own child's loopback address
            f"{self.endpoint}/_admin/{what}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.secret}"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer: dict[str, Any] = json.loads(response.read())
        return answer
