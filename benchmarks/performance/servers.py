"""Everything that runs beside the load: servers, models and the emulator, each a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / ".venv-reference" / "bin" / "tablestore-openmemory-mcp"  # made by `make bench`
OURS = (sys.executable, "-m", "tablestore_openmemory_mcp")
START = 120.0  # seconds
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Process:
    """A server that runs. `begin`: when it was started (time.perf_counter)."""

    popen: "subprocess.Popen[bytes]"
    port: int
    begin: float

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> float:
        """Megabytes."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000

    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.popen.pid}/fd").iterdir())

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:  # the reference, while it answers
            self.kill()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that can be started: "ours" or "reference". `variables`: its whole environment, but for the port."""

    name: str
    command: tuple[str | Path, ...]
    variables: dict[str, str] = field(repr=False)
    log: Path

    def start(self, port: int = 0) -> Process:
        """Returns when it listens. Raises RuntimeError if it ends before."""
        port = port or free_port()
        environ = self.variables | {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(port)}
        begin = time.perf_counter()
        with self.log.open("ab") as log:
            popen = subprocess.Popen(
                [*self.command, "--transport=sse"],
                env=environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd="/",
            )
        process = Process(popen, port, begin)
        self._await(process)
        return process

    def _await(self, process: Process) -> None:
        deadline = time.monotonic() + START
        while process.popen.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", process.port)) == 0:
                    return
            if time.monotonic() > deadline:
                process.kill()
                break
            time.sleep(0.002)
        tail = self.log.read_text("utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not listen (status {process.popen.returncode}):\n{tail}")


def stop_on_sigterm() -> None:
    """So that nothing keeps running when a benchmark is ended from outside."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def fake_models(llm: float, embedder: float, errors: float = 0.0) -> Iterator[str]:
    """The fake LLM and embedder with these latencies (seconds); their base URL. `errors`: a share of the LLM's."""
    options = {"--llm-delay": llm, "--embedder-delay": embedder, "--llm-errors": errors}
    command = [sys.executable, "-m", "support.fake_openai", *(str(part) for pair in options.items() for part in pair)]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    popen = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert popen.stdout is not None
        yield popen.stdout.readline().strip().partition("=")[2]
    finally:
        popen.kill()
        popen.wait()


def clean(home: Path, base_url: str | None, **more: str) -> dict[str, str]:
    """An environment that inherits nothing but PATH. Without `base_url` there is no model and no key."""
    home.mkdir(parents=True, exist_ok=True)
    models = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": base_url} if base_url else {}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "MAX_REQUESTS_PER_MINUTE": "10000000",  # a client of the load is faster than a person
        "MEM0_TELEMETRY": "False",  # of the reference: nothing leaves this machine
        **models,
        **more,
    }
