"""A server that comes back gets its TypeScript clients back: they reconnect, but never initialize again."""

import json
import subprocess
from pathlib import Path

import pytest

from support.processes import Server, clean_environ
from support.real_clients import DRIVERS, node

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("end", [Server.kill, Server.stop], ids=["killed", "stopped"])
@pytest.mark.parametrize("sdk", ["1.0", "1.32", "2"])
def test_a_client_recovers(sdk: str, end: "type[Server.kill]", tmp_path: Path) -> None:
    with Server(tmp_path) as first:
        port = first.port
        client = subprocess.Popen(
            [node(), str(DRIVERS / "reconnect.mjs"), sdk, first.url("cline", "alice")],
            env=clean_environ(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdin
        assert client.stdout
        try:
            assert client.stdout.readline() == "ready\n"
            end(first)
            with Server(tmp_path, SERVER_PORT=str(port)) as second:
                assert second.port == port
                report = json.loads(client.communicate("go\n", timeout=240)[0])
        finally:
            client.kill()

    print(f"{sdk}: {report['seconds']:.1f} s, {report['failures']}")
    (memory,) = json.loads(report["listed"])
    assert memory["memory"] == "The stream will break"
    assert report["later"] == 5, "a call failed after the client had recovered"
