"""Cold start beside the reference: process start → port open → `initialize` answered → first search, and memory then.

    make bench-cold-start          or: python benchmarks/cold_start.py [--rounds 7] [--package dist/function.zip]

Ours is the built package through its bootstrap; the reference is PyPI's release 1.3.1 in a virtual environment of the
same Python 3.12, made in a temporary folder (needs pip's index). Both talk to the emulator and the fake endpoint of
tests/ over TCP, as Cline would talk to them: over SSE. Tables and one memory exist before; bytecode is compiled.
"""

import argparse
import importlib.util
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.fake_openai import FakeOpenAI  # noqa: E402
from tablestore_emulator.testing import Emulator  # noqa: E402

REFERENCE = "tablestore-openmemory-mcp==1.3.1"
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds since the process was started; megabytes resident."""

    port_open: float
    initialized: float
    first_search: float
    memory: float


GOALS = Figures(port_open=0.35, initialized=1.0, first_search=0.9, memory=0.8)  # ours as a part of the reference's


class SseSession:
    """Just enough of an MCP client, so that it is not the client that is measured."""

    def __init__(self, base: str, response: httpx.Response) -> None:
        self._lines = response.iter_lines()
        self._base = base
        self._http = httpx.Client(timeout=PATIENCE)
        self._messages = base + self._next("endpoint")

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send, and wait for the answer."""
        ident = time.monotonic_ns()
        self.send({"jsonrpc": "2.0", "id": ident, "method": method, "params": params})
        while True:
            message: dict[str, Any] = json.loads(self._next("message"))
            if message.get("id") == ident:
                return message

    def send(self, message: dict[str, Any]) -> None:
        self._http.post(self._messages, json=message).raise_for_status()

    def tool(self, name: str, **arguments: str) -> str:
        result = self.request("tools/call", {"name": name, "arguments": arguments})["result"]
        if result.get("isError"):
            raise SystemExit(f"{name} failed: {result}")
        text: str = result["content"][0]["text"]
        return text

    def _next(self, event: str) -> str:
        kind = ""
        for line in self._lines:
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == event:
                return line.removeprefix("data: ")
        raise SystemExit("the stream ended")


@contextmanager
def session(port: int) -> Iterator[SseSession]:
    base = f"http://127.0.0.1:{port}"
    with httpx.stream("GET", f"{base}/mcp/cline/sse/alice", timeout=PATIENCE) as response:
        client = SseSession(base, response)
        version = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
        client.request("initialize", version)
        client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        yield client


class Contender:
    """A way to start a server. `variables` are its environment, but for the port."""

    def __init__(self, name: str, command: list[str | Path], variables: dict[str, str], port_variable: str) -> None:
        self.name = name
        self._command = command
        self._variables = variables
        self._port_variable = port_variable

    @contextmanager
    def started(self) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environ = self._variables | {self._port_variable: str(port)}
        begin = time.perf_counter()
        process = subprocess.Popen(
            self._command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        try:
            yield port, process, begin
        finally:
            process.kill()
            process.wait()

    def seed(self) -> None:
        """Make the tables, and one memory to find."""
        with self.started() as (port, process, _):
            _await_port(port, process)
            with session(port) as client:
                client.tool("add_memories", text="常量全部采用大写字母加下划线进行命名")

    def measure(self) -> Figures:
        with self.started() as (port, process, begin):
            _await_port(port, process)
            port_open = time.perf_counter() - begin
            with session(port) as client:
                initialized = time.perf_counter() - begin
                found = json.loads(client.tool("search_memories", query="常量怎么命名"))
                first_search = time.perf_counter() - begin
                if not found:
                    raise SystemExit(f"{self.name} found nothing")
                return Figures(port_open, initialized, first_search, _resident(process.pid))


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.002)
    raise SystemExit(f"the server did not listen (status {process.poll()})")


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("no VmRSS")


def _python312() -> Path:
    spec = importlib.util.spec_from_file_location("package", ROOT / "scripts" / "package.py")
    if spec is None or spec.loader is None:
        raise SystemExit("scripts/package.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.find_compiler()
    if not found:
        raise SystemExit("CPython 3.12 is needed; PYTHON312 may name one")
    base = subprocess.run([found, "-c", "import sys; print(sys._base_executable)"], capture_output=True, check=True)
    return Path(base.stdout.decode().strip())


def _reference(folder: Path, python: Path) -> Path:
    """Its command, installed with the patched Mem0 that it brings and would install by itself if it found uv."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, REFERENCE], check=True, stderr=subprocess.DEVNULL)
    wheels = folder.glob("lib/python3.12/site-packages/tablestore_openmemory_mcp/mem0_wheel/*.whl")
    subprocess.run([*pip, "--no-deps", *wheels], check=True, stderr=subprocess.DEVNULL)
    return folder / "bin" / "tablestore-openmemory-mcp"


def _unpacked(package: Path, folder: Path) -> Path:
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    (folder / "bootstrap").chmod(0o755)
    return folder / "bootstrap"


def _report(ours: list[Figures], theirs: list[Figures]) -> None:
    print(f"{'median of ' + str(len(ours)):<16}{'ours':>10}{'reference':>12}{'ratio':>8}{'goal':>8}")
    for number, field in enumerate(fields(Figures)):
        mine, other = (statistics.median(astuple(f)[number] for f in figures) for figures in (ours, theirs))
        unit = "MB" if field.name == "memory" else "s"
        goal = getattr(GOALS, field.name)
        print(f"{field.name:<16}{mine:>8.2f} {unit}{other:>10.2f} {unit}{mine / other:>8.2f}{'≤ ' + str(goal):>8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--package", type=Path, default=ROOT / "dist" / "function.zip")
    arguments = parser.parse_args()
    python = _python312()
    with tempfile.TemporaryDirectory() as temporary, Emulator() as emulator, FakeOpenAI() as model:
        folder = Path(temporary)
        print("installing the reference ...", file=sys.stderr)
        common = {
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": temporary,
            "TABLESTORE_ENDPOINT": emulator.endpoint,
            "TABLESTORE_INSTANCE_NAME": emulator.instance,
            "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
            "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
            "TABLESTORE_VECTOR_DIMENSION": "1536",
            "OPENAI_API_KEY": "any",
            "OPENAI_BASE_URL": model.base_url,
        }
        bootstrap = _unpacked(arguments.package, folder / "code")
        ours = Contender("ours", [bootstrap], common | {"MCP_AUTH": "anonymous"}, "FC_CUSTOM_LISTEN_PORT")
        command: list[str | Path] = [_reference(folder / "reference", python), "--transport=sse"]
        theirs = Contender("the reference", command, common, "SERVER_PORT")
        for contender in (ours, theirs):
            contender.seed()
        figures: dict[str, list[Figures]] = {ours.name: [], theirs.name: []}
        for _ in range(arguments.rounds):  # in turn, so that a busy moment hits both
            for contender in (ours, theirs):
                figures[contender.name].append(contender.measure())
        _report(figures[ours.name], figures[theirs.name])


if __name__ == "__main__":
    main()
