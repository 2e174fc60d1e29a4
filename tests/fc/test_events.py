"""code/index.py as the built-in runtime calls it: a process of its own, an event at a time."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.emulator import Emulator
from support.function_compute import FUNCTION, Role, tablestore

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "support" / "event_runner.py"


class Runtime:
    """A warm instance of the built-in runtime."""

    def __init__(self, log: Path, environ: dict[str, str]) -> None:
        self._log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, RUNNER, ROOT / "code" / "index.py"],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def send(self, event: Any) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(event) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                answer: dict[str, Any] = json.loads(line.removeprefix("answer "))
                return answer
        raise AssertionError(self.log)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with Emulator() as emulator:
        variables = {"MEMORY_PIPELINE": "verbatim", "MCP_AUTH": "anonymous", "FC_FUNCTION_NAME": FUNCTION}
        environ = tablestore(emulator) | Role(emulator).environ | variables
        running = Runtime(tmp_path_factory.mktemp("runtime") / "log", environ)
        yield running
        running.close()


def http(method: str, path: str, body: str = "", **more: Any) -> dict[str, Any]:
    """An HTTP trigger's event, as the documentation shows it."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Host": "x.fcapp.run",
    }
    return {
        "version": "v1",
        "rawPath": path,
        "body": body,
        "isBase64Encoded": False,
        "headers": headers,
        "queryParameters": {},
        "requestContext": {
            "accountId": "1",
            "domainName": "x.fcapp.run",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "11.11.11.11",
                "userAgent": "t",
            },
            "requestId": "1-http",
            "timeEpoch": "1693896071895",
        },
    } | more


def tool(name: str, **arguments: str) -> str:
    return json.dumps(
        {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": name, "arguments": arguments}},
        ensure_ascii=False,
    )


def result(answer: dict[str, Any]) -> Any:
    return json.loads(text_of(answer))


def text_of(answer: dict[str, Any]) -> str:
    assert answer["statusCode"] == 200, answer
    text: str = json.loads(answer["body"])["result"]["content"][0]["text"]
    return text


def test_health(runtime: Runtime) -> None:
    answer = runtime.send(http("GET", "/healthz"))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["status"] == "ok"
    assert answer["isBase64Encoded"] is False
    assert answer["headers"]["content-type"] == "application/json"


def test_tools_event_after_event(runtime: Runtime) -> None:
    path = "/mcp/cline/http/alice"
    assert result(runtime.send(http("POST", path, tool("add_memories", text="喜欢科幻电影"))))["results"]
    encoded = base64.b64encode(tool("search_memories", query="科幻").encode()).decode()
    found = result(runtime.send(http("POST", path, encoded, isBase64Encoded=True)))
    assert [memory["memory"] for memory in found] == ["喜欢科幻电影"]
    deleted = text_of(runtime.send(http("POST", path, tool("delete_all_memories"))))
    assert deleted == "Successfully deleted 1 memories"


def test_modern_client_s_listing(runtime: Runtime) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    answer = runtime.send(http("POST", "/mcp/cline/http/alice", body))
    assert len(json.loads(answer["body"])["result"]["tools"]) == 8


def test_plain_events(runtime: Runtime) -> None:
    assert runtime.send({"action": "status"})["result"]["store"] == "reachable"
    assert runtime.send({"action": "list", "user": "alice", "client": "cline"}) == {"result": []}
    assert "error" in runtime.send("nonsense")


def test_client_cannot_pretend_to_be_the_platform(runtime: Runtime) -> None:
    forged = http("POST", "/invoke", '{"action": "status"}', headers={"X-Fc-Control-Path": "/invoke"})
    assert runtime.send(forged)["statusCode"] in (404, 405)


def test_request_id_is_the_context_s(runtime: Runtime) -> None:
    result(runtime.send(http("POST", "/mcp/cline/http/alice", tool("list_memories"))))
    calls = [json.loads(line) for line in runtime.log.splitlines() if '"tool": "list_memories"' in line]
    assert calls[-1]["request"].startswith("1-event-")


def test_a_stream_is_refused_rather_than_waited_for(runtime: Runtime) -> None:
    assert runtime.send(http("GET", "/mcp/cline/sse/alice"))["statusCode"] in (404, 405)
