"""A process that ends says why, at every LOG_LEVEL, in the last line of its log."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.clients import over_sse
from support.fake_openai import FakeOpenAI
from support.processes import COMMAND, START, Server, clean_environ, wait_until


def last_line(log: str) -> str:
    told = [json.loads(line) for line in log.splitlines() if line.startswith('{"at"')]
    assert told, log
    return str(told[-1]["message"])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal(tmp_path: Path, signum: signal.Signals) -> None:
    with Server(tmp_path, LOG_LEVEL="ERROR") as server:
        httpx.get(f"http://127.0.0.1:{server.port}/healthz")
        server.process.send_signal(signum)
        assert server.process.wait(START) == 0
    assert last_line(server.log) == f"stopped: {signum.name}, 0 calls finished, 0 cut off"


def test_a_signal_before_it_serves(tmp_path: Path) -> None:
    """Importing takes a second."""
    with Server(tmp_path) as server:
        wait_until(lambda: handles_sigterm(server.process.pid), START)
        assert server.stop() == 0
    assert last_line(server.log).startswith("stopped: SIGTERM, ")


def handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("grace", "told"), [("20", "1 call finished, 0 cut off"), ("1", "0 calls finished, 1 cut off")]
)
def test_what_became_of_running_calls(tmp_path: Path, grace: str, told: str) -> None:
    with FakeOpenAI() as fake:
        llm = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": fake.base_url, "SHUTDOWN_GRACE": grace}
        with Server(tmp_path, **llm) as server, over_sse(server.url("cline", "alice")) as client:
            client.tools()
            with fake.holding("chat"):
                client.begin("add_memories", text="I live in Shanghai.")
                wait_until(lambda: fake.count("extraction"), START)
                server.process.terminate()
                if grace == "1":
                    assert server.process.wait(START) == 0
                else:
                    wait_until(lambda: refuses(server), START)
            assert server.process.wait(START) == 0
        assert last_line(server.log) == f"stopped: SIGTERM, {told}"


def refuses(server: Server) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{server.port}/readyz").status_code == 503
    except httpx.TransportError:
        return True


def test_an_exception_that_nobody_handles(tmp_path: Path) -> None:
    """Its text may quote anything, so it is not told."""
    script = (
        "from tablestore_openmemory_mcp.server.logs import configure\n"
        "import threading\n"
        "configure('ERROR')\n"
        "def fail(): raise ValueError('my doctor says')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "raise OSError('my doctor says')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=START, check=False, env=os.environ
    )
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line.get("exception") for line in lines] == ["builtins.ValueError", "builtins.OSError", None]
    assert lines[-1]["message"] == "stopped: OSError, 0 calls finished, 0 cut off"
    assert "doctor" not in ended.stderr


def test_a_start_that_fails(tmp_path: Path) -> None:
    """Something that the application needs cannot be made when it begins to serve."""
    script = (
        "import sys, contextlib\n"
        "from tablestore_openmemory_mcp.server.transports.http import HttpEndpoint\n"
        "@contextlib.asynccontextmanager\n"
        "async def failing(self):\n"
        "    raise OSError('no')\n"
        "    yield\n"
        "HttpEndpoint.running = failing\n"
        "from tablestore_openmemory_mcp.cli import main\n"
        "main(['--transport=sse'])\n"
    )
    environ = clean_environ(tmp_path, SERVER_HOST="127.0.0.1", SERVER_PORT="0")
    ended = subprocess.run(
        [COMMAND[0], "-c", script], env=environ, capture_output=True, text=True, timeout=START, check=False
    )
    assert ended.returncode == 3
    assert last_line(ended.stderr) == "stopped: the application did not start, 0 calls finished, 0 cut off"
