"""TypeScript clients come back when their server does, or another takes its place: they reconnect, but never initialize
again."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.balancer import Balancer
from support.emulator import Emulator
from support.processes import Server, clean_environ, tablestore_environ
from support.real_clients import DRIVERS, node

pytestmark = pytest.mark.slow

SDKS = pytest.mark.parametrize("sdk", ["1.0", "1.32", "2"])


@contextmanager
def reconnecting(sdk: str, url: str, home: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """A client that has said something over `url`. The function sends it on, and gives its report."""
    with subprocess.Popen(
        [node(), str(DRIVERS / "reconnect.mjs"), sdk, url],
        env=clean_environ(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout

        def go_on() -> dict[str, Any]:
            report: dict[str, Any] = json.loads(client.communicate("go\n", timeout=240)[0])
            print(f"{sdk}: {report['seconds']:.1f} s, {report['failures']}")
            return report

        try:
            assert client.stdout.readline() == "ready\n"
            yield go_on
        finally:
            client.kill()


def check(report: dict[str, Any]) -> None:
    (memory,) = json.loads(report["listed"])
    assert memory["memory"] == "The stream will break"
    assert report["later"] == 5, "a call failed after the client had recovered"


@pytest.mark.parametrize("end", [Server.kill, Server.stop], ids=["killed", "stopped"])
@SDKS
def test_a_client_recovers(sdk: str, end: Callable[[Server], object], tmp_path: Path) -> None:
    with Server(tmp_path) as first:
        port = first.port
        with reconnecting(sdk, first.url("cline", "alice"), tmp_path) as go_on:
            end(first)
            with Server(tmp_path, SERVER_PORT=str(port)) as second:
                assert second.port == port
                check(go_on())


@SDKS
def test_a_client_of_several_instances_recovers_when_its_own_is_killed(sdk: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        cloud = tablestore_environ(stack.enter_context(Emulator())) | {"MEMORY_PIPELINE": "verbatim"}
        holder, *others = (stack.enter_context(Server(tmp_path, **cloud)) for _ in range(3))
        behind = [holder.port]  # alone at first, so that the stream is on it
        balancer = stack.enter_context(Balancer(lambda: behind))
        go_on = stack.enter_context(reconnecting(sdk, f"{balancer.url}/mcp/cline/sse/alice", tmp_path))
        behind += [server.port for server in others]
        holder.kill()
        report = go_on()
    check(report)
    assert report["seconds"] < 10  # promised are 5; this machine may be busy
