"""The command as a person runs it: what it prints, how it refuses, how it ends. Real processes, the whole stack."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from support.clients import over_sse, over_stdio
from support.fake_openai import FakeOpenAI
from support.processes import COMMAND, START, Server, clean_environ, run_to_end, wait_until
from tablestore_openmemory_mcp import __version__

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}},
}


def blocks(printed: str) -> dict[str, dict[str, Any]]:
    """The JSON blocks of a banner, by the name of their server."""
    found: dict[str, dict[str, Any]] = {}
    decoder, at = json.JSONDecoder(), 0
    while (at := printed.find("\n{", at)) >= 0:
        block, length = decoder.raw_decode(printed[at + 1 :])
        found |= block.get("mcpServers", {})
        at += length
    return found


def test_version_and_help(tmp_path: Path) -> None:
    assert run_to_end(tmp_path, "--version", environ={}).stdout.split()[-1] == __version__
    assert version("tablestore-openmemory-mcp") == __version__
    told = run_to_end(tmp_path, "--help", environ={})
    assert told.returncode == 0
    assert "--transport" in told.stdout


def test_bare_it_serves_sse_as_release_1x_did(tmp_path: Path) -> None:
    environ = clean_environ(tmp_path, SERVER_HOST="127.0.0.1", SERVER_PORT="0")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(COMMAND, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        said = (tmp_path / "log").read_text
        wait_until(lambda: "/sse/" in said() or process.poll() is not None, START, said)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


MISTAKES: list[tuple[dict[str, str], list[str]]] = [
    ({"SERVER_PORT": "99999"}, ["SERVER_PORT"]),
    ({"SERVER_PORT": "http"}, ["SERVER_PORT"]),
    ({"STORE": "disk"}, ["STORE"]),
    ({"OPENAI_API_KEY": "sk-very-secret"}, ["OPENAI_BASE_URL"]),
    ({"TOOL_BLACK_LIST": "delete"}, ["TOOL_BLACK_LIST"]),
    ({"TOOL_BLACK_LIST": '["delete"]'}, ["TOOL_BLACK_LIST"]),
    ({"MCP_STDIO_USER_ID": "a/b"}, ["MCP_STDIO_USER_ID"]),
    (
        {"STORE": "tablestore", "TABLESTORE_ACCESS_KEY_SECRET": "very-secret", "SERVER_HOST": "127.0.0.1"},
        ["TABLESTORE_INSTANCE_NAME", "TABLESTORE_ENDPOINT", "TABLESTORE_ACCESS_KEY_ID", "OPENAI_API_KEY"],
    ),
    ({"TABLESTORE_ENDPOINT": "example.com", "MEMORY_PIPELINE": "x"}, ["TABLESTORE_ENDPOINT", "MEMORY_PIPELINE"]),
]


@pytest.mark.parametrize(("environ", "named"), MISTAKES, ids=[" ".join(names) for _, names in MISTAKES])
def test_a_wrong_configuration_is_one_line_per_mistake(
    tmp_path: Path, environ: dict[str, str], named: list[str]
) -> None:
    ended = run_to_end(tmp_path, "--transport=sse", environ=environ)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "secret" not in ended.stderr.replace("ACCESS_KEY_SECRET", "").lower()
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == len(named)
    for line, name in zip(lines, named, strict=True):
        assert name in line


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        environ = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": port}
        ended = run_to_end(tmp_path, "--transport=sse", environ=environ)
    assert ended.returncode == 2
    assert f"SERVER_PORT={port} cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_embedded_store_must_be_asked_for_where_files_vanish(tmp_path: Path) -> None:
    ended = run_to_end(tmp_path, environ={"STORE": "", "FC_FUNCTION_NAME": "memory"})
    assert ended.returncode == 2
    assert "STORE=embedded" in ended.stderr


def test_the_printed_blocks_lead_to_the_same_memories(tmp_path: Path) -> None:
    names = {"MCP_STDIO_USER_ID": "张三", "MCP_STDIO_CLIENT_NAME": "my client"}
    with Server(tmp_path, **names) as server:
        port = server.port
        printed = blocks(server.log)
        sse, stdio = printed["tablestore-openmemory-sse"], printed["tablestore-openmemory-stdio"]
        assert f"http://127.0.0.1:{port}" in server.log
        assert str(tmp_path / "data") in server.log
        assert "word for word" in server.log
        with over_sse(sse["url"]) as client:
            client.add("我住在上海")
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_memories", "arguments": {}}}
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **stdio["env"]}
        with child(stdio["command"], *stdio["args"], environ=environ) as (said, process):
            say(process, INITIALIZE, call)
            assert json.loads(said.readline())["id"] == 0
            assert "我住在上海" in json.loads(said.readline())["result"]["content"][0]["text"]
        assert process.returncode == 0


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    with FakeOpenAI() as fake, Server(tmp_path, OPENAI_API_KEY="sk-top", OPENAI_BASE_URL=fake.base_url) as server:
        server.port  # noqa: B018 - waits for the banner
        assert "sk-top" not in server.log
        assert blocks(server.log)["tablestore-openmemory-stdio"]["env"]["OPENAI_API_KEY"].startswith("<")


def test_a_child_from_the_printed_block_asks_the_same_models(tmp_path: Path) -> None:
    """With the secrets filled in, and nothing of the server's environment but what the block carries."""
    key = "sk-top-secret-key"
    with FakeOpenAI(api_key=key) as fake:
        llm = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": fake.base_url, "LLM_MODEL": "small", "EMBEDDER_MODEL": "other"}
        more = {"TABLESTORE_VECTOR_DIMENSION": "64", "TOOL_BLACK_LIST": '["list_memories"]', "EXTRA_TOOLS": "true"}
        with Server(tmp_path, **llm, **more) as server:
            server.port  # noqa: B018 - waits for the banner
            entry = blocks(server.log)["tablestore-openmemory-stdio"]
            assert key not in server.log
            assert entry["env"]["OPENAI_API_KEY"] == "<your OPENAI_API_KEY>"
            with over_sse(server.url("stdio_default_client", "stdio_default_user")) as client:
                client.add("I live in Shanghai.")
            asked = len(fake.requests)
            environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **entry["env"], "OPENAI_API_KEY": key}
            with child(entry["command"], *entry["args"], environ=environ) as (said, process):
                search = {"name": "search_memories", "arguments": {"query": "Where does the user live?"}}
                say(process, INITIALIZE, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
                said.readline()
                tools = {tool["name"] for tool in json.loads(said.readline())["result"]["tools"]}
                say(process, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": search})
                (hit,) = json.loads(json.loads(said.readline())["result"]["content"][0]["text"])
            assert hit["memory"]
            assert "get_memory" in tools
            assert "list_memories" not in tools
            assert {(r.body["model"], r.body["dimensions"]) for r in fake.requests[asked:]} == {("other", 64)}


def test_nothing_heavy_is_imported_before_the_first_answer(tmp_path: Path) -> None:
    """Cline gives a stdio server three seconds to answer `initialize`."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "--transport=stdio"],
        env=clean_environ(tmp_path),
        input=json.dumps(INITIALIZE) + "\n",
        capture_output=True,
        text=True,
        timeout=START,
        check=True,
    )
    assert json.loads(ended.stdout)["result"]["serverInfo"]["name"] == "tablestore-openmemory-mcp"
    lines = [line for line in ended.stderr.splitlines() if "import time:" in line]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert "mcp" in imported
    assert not imported & {"mem0", "openai", "tablestore", "numpy", "aiohttp", "grpc", "qdrant_client", "sqlalchemy"}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_add_finish(tmp_path: Path, signum: signal.Signals) -> None:
    with FakeOpenAI() as fake:
        llm = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": fake.base_url}
        with Server(tmp_path, **llm) as server, over_sse(server.url("cline", "alice")) as client:
            client.tools()  # or the client asks for them after its answer, when the server is gone
            with fake.holding("chat"):
                adding = client.begin("add_memories", text="I live in Shanghai.")
                wait_until(lambda: fake.count("extraction"), START)
                server.process.send_signal(signum)
                wait_until(lambda: not accepts(server), START)
            assert not adding.result(START).failed
            assert server.process.wait(START) == 0
        with Server(tmp_path, **llm) as again, over_sse(again.url("cline", "alice")) as client:
            assert len(client.memories()) == 1


def accepts(server: Server) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{server.port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_write_that_outlasts_the_grace_does_not_hold_the_process(tmp_path: Path) -> None:
    with FakeOpenAI() as fake:
        llm = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": fake.base_url, "SHUTDOWN_GRACE": "1"}
        with (
            Server(tmp_path, **llm) as server,
            over_sse(server.url("cline", "alice")) as client,
            fake.holding("chat"),
        ):
            client.begin("add_memories", text="I live in Shanghai.")
            wait_until(lambda: fake.count("extraction"), START)
            assert server.stop() == 0


@pytest.mark.parametrize("ending", ["close", "SIGTERM"])
def test_stdio_ends_with_its_client_and_finishes_what_it_was_told(tmp_path: Path, ending: str) -> None:
    add = {"name": "add_memories", "arguments": {"text": "I live in Shanghai."}}
    with FakeOpenAI() as fake:
        llm = {"OPENAI_API_KEY": "any", "OPENAI_BASE_URL": fake.base_url}
        environ = clean_environ(tmp_path, **llm)
        with child(*COMMAND, "--transport=stdio", environ=environ) as (said, process):
            with fake.holding("chat"):
                say(process, INITIALIZE, {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": add})
                wait_until(lambda: fake.count("extraction"), START)
                if ending == "close":
                    assert process.stdin
                    process.stdin.close()
                else:
                    process.terminate()
            assert process.wait(START) == 0
            if ending == "SIGTERM":
                answers = [json.loads(line) for line in said]
                assert "ADD" in answers[-1]["result"]["content"][0]["text"]
        with over_stdio(tmp_path, **llm) as client:
            assert len(client.memories()) == 1


@contextlib.contextmanager
def child(*command: str, environ: dict[str, str]) -> Iterator[tuple[IO[bytes], subprocess.Popen[bytes]]]:
    """A stdio server: (its stdout, it). Its stdin is closed at the end, and it must end by itself."""
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout, process
        process.stdin.close()
        process.wait(START)
    finally:
        process.kill()
        process.wait(START)


def say(process: subprocess.Popen[bytes], *messages: dict[str, Any]) -> None:
    assert process.stdin
    process.stdin.write("".join(json.dumps(message) + "\n" for message in messages).encode())
    process.stdin.flush()
