"""One instance as the platform treats it: hooks, headers, credentials, events. The checkout's bootstrap, real wires."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.emulator import Emulator
from support.function_compute import MINT_KEY, SYSTEM_PATH, Instance, Role, tablestore

BOOTSTRAP = Path(__file__).resolve().parents[2] / "bootstrap"
OPEN = {"MEMORY_PIPELINE": "verbatim", "MCP_AUTH": "anonymous"}
ALICE = {"user": "alice", "client": "cline"}
TOOL_CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def role(emulator: Emulator) -> Role:
    return Role(emulator)


@pytest.fixture(scope="module")
def instance(emulator: Emulator, role: Role, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    log = tmp_path_factory.mktemp("instance") / "log"
    with Instance(BOOTSTRAP, log, role, **tablestore(emulator), **OPEN) as running:
        yield running


def call(instance: Instance, tool: str, request_id: str = "", **arguments: str) -> Any:
    """A tool call over Streamable HTTP through the HTTP trigger; its decoded result. Fails on an error."""
    body = TOOL_CALL | {"params": {"name": tool, "arguments": arguments}}
    response = instance.request("POST", "/mcp/cline/http/alice", json=body, headers=ACCEPT, request_id=request_id)
    result = response.json()["result"]
    assert not result.get("isError"), result
    return json.loads(result["content"][0]["text"])


def test_initializer_makes_the_tables_and_may_come_twice(instance: Instance, emulator: Emulator) -> None:
    assert instance.initialize().status_code == 200
    made = emulator.calls()["CreateTable"]
    assert instance.initialize().status_code == 200
    assert emulator.calls()["CreateTable"] == made == 4


def test_pre_stop_leaves_the_instance_usable(instance: Instance) -> None:
    for _ in range(2):
        assert instance.pre_stop().status_code == 200
    assert call(instance, "add_memories", text="喜欢吃辣")["results"][0]["event"] == "ADD"


@pytest.mark.parametrize(("method", "path"), [("POST", "/initialize"), ("GET", "/pre-stop"), ("POST", "/invoke")])
def test_clients_reach_no_hook(instance: Instance, method: str, path: str) -> None:
    assert instance.request(method, path, json={"action": "status"}).status_code in (404, 405)


@pytest.mark.parametrize("said", [[], ["/invoke", "/http-invoke"], ["/invoke", "/invoke"], ["/initialize"]])
def test_event_is_believed_only_from_the_api(instance: Instance, said: list[str]) -> None:
    headers = [("x-fc-control-path", path) for path in said]
    response = httpx.post(instance.url + "/invoke", json={"action": "status"}, headers=headers, timeout=60)
    assert response.status_code in (404, 405)


@pytest.mark.parametrize(("method", "path"), [("POST", "/initialize"), ("GET", "/pre-stop")])
@pytest.mark.parametrize("said", [["/http-invoke"], ["/http-invoke", "/pre-stop"], ["/pre-stop", "/pre-stop"], ["/x"]])
def test_hooks_answer_the_platform_alone(instance: Instance, method: str, path: str, said: list[str]) -> None:
    headers = [("x-fc-control-path", said_path) for said_path in said]
    assert httpx.request(method, instance.url + path, headers=headers, timeout=60).status_code in (404, 405)


def test_hooks_that_a_client_could_forge_do_nothing(instance: Instance, emulator: Emulator) -> None:
    """If the platform let the header through after all: no work, no drain, no line that is not there anyway."""
    instance.initialize()
    call(instance, "list_memories")
    asked = emulator.calls()
    for _ in range(20):
        assert instance.initialize().status_code == instance.pre_stop().status_code == 200
    assert emulator.calls() == asked
    assert call(instance, "add_memories", text="still served")["results"][0]["event"] == "ADD"
    assert instance.request("GET", "/readyz").json() == {"status": "ready"}


def test_request_ids_reach_the_log(instance: Instance) -> None:
    call(instance, "list_memories", request_id="1-trace-me")
    lines = [json.loads(line) for line in instance.log.splitlines() if line.startswith('{"at"')]
    assert [line["tool"] for line in lines if line.get("request") == "1-trace-me"] == ["list_memories"]


def test_invocations_are_marked_in_the_log(instance: Instance) -> None:
    instance.invoke({"action": "status"}, request_id="1-invoked")
    assert "FC Invoke Start RequestId: 1-invoked" in instance.log
    assert "FC Invoke End RequestId: 1-invoked" in instance.log


def test_status_tells_the_operator_what_to_do(instance: Instance, emulator: Emulator) -> None:
    status = instance.invoke({"action": "status"})["result"]
    assert status["store"] == "reachable"
    assert status["urls"]["sse"].endswith("/mcp/{client_name}/sse/{user_id}")
    assert "mcpServers" in status["paste"]
    assert "memories" not in status  # anyone may have forged the event
    assert emulator.instance in instance.invoke({"action": "status", "key": MINT_KEY})["result"]["memories"]


def test_events_do_what_the_tools_do(instance: Instance) -> None:
    who = {"user": "李雷", "client": "cherry studio"}
    added = instance.invoke({"action": "add", "text": "住在上海", **who})["result"]["results"]
    assert [change["event"] for change in added] == ["ADD"]
    assert [m["memory"] for m in instance.invoke({"action": "search", "query": "上海", **who})["result"]] == [
        "住在上海"
    ]
    assert [m["id"] for m in instance.invoke({"action": "list", **who})["result"]] == [added[0]["id"]]
    assert instance.invoke({"action": "list", **ALICE})["result"] != []  # another's memories are untouched
    assert instance.invoke({"action": "delete_all", **who})["result"] == "Successfully deleted 1 memories"


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({"action": "add", "text": " ", **ALICE}, "text"),
        ({"action": "add", **ALICE}, "needs 'text'"),
        ({"action": "list", "user": "a/b", "client": "c"}, "user_id"),
        ({"action": "list", "user": "a"}, "client_name"),
        ({"action": "drop"}, '{"action": "status"}'),
        ([1], '{"action": "status"}'),
        (None, '{"action": "status"}'),
    ],
)
def test_wrong_events_get_a_sentence(instance: Instance, event: Any, sentence: str) -> None:
    assert sentence in instance.invoke(event)["error"]


def test_renewed_keys_are_used_from_the_next_request_on(instance: Instance, role: Role) -> None:
    call(instance, "add_memories", text="before the renewal")
    role.revoke()
    role.renew()
    assert "before the renewal" in [m["memory"] for m in call(instance, "list_memories")]


def test_keys_are_not_logged(instance: Instance, role: Role) -> None:
    call(instance, "list_memories")
    assert role.token not in instance.log
    assert role.secret not in instance.log


def test_keys_that_the_operator_set_stay(emulator: Emulator, tmp_path: Path) -> None:
    nobody = Role(emulator)
    nobody.revoke()
    own = {"TABLESTORE_ACCESS_KEY_ID": emulator.key_id, "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret}
    with Instance(BOOTSTRAP, tmp_path / "log", nobody, **tablestore(emulator), **own, **OPEN) as instance:
        assert call(instance, "list_memories") is not None


def test_nobody_is_local_there(emulator: Emulator, role: Role, tmp_path: Path) -> None:
    with Instance(BOOTSTRAP, tmp_path / "log", role, **tablestore(emulator), MEMORY_PIPELINE="verbatim") as instance:
        body = TOOL_CALL | {"params": {"name": "list_memories", "arguments": {}}}
        assert instance.request("POST", "/mcp/cline/http/alice", json=body, headers=ACCEPT).status_code == 401
        assert "token" in instance.invoke({"action": "list", **ALICE})["error"].lower()


def test_token_for_one_user_opens_that_user_s_memories_only(emulator: Emulator, role: Role, tmp_path: Path) -> None:
    store = tablestore(emulator) | {"MEMORY_PIPELINE": "verbatim"}
    with Instance(BOOTSTRAP, tmp_path / "log", role, **store) as instance:
        minted = instance.invoke({"action": "token", "key": MINT_KEY, "expires": "12h", **ALICE})["result"]
        paste = minted["paste"]["mcpServers"]["tablestore-openmemory-sse"]
        assert paste["url"].endswith("/mcp/cline/sse/alice")
        assert paste["headers"] == {"Authorization": f"Bearer {minted['token']}"}
        token = {"token": minted["token"]}
        assert "result" in instance.invoke({"action": "list", **ALICE, **token})
        assert (
            "not for this user_id"
            in instance.invoke({"action": "list", "user": "bob", "client": "c", **token})["error"]
        )
        body = TOOL_CALL | {"params": {"name": "list_memories", "arguments": {}}}
        headers = ACCEPT | {"authorization": f"Bearer {minted['token']}"}
        assert instance.request("POST", "/mcp/cline/http/alice", json=body, headers=headers).status_code == 200
        with Instance(BOOTSTRAP, tmp_path / "log2", role, **store) as other:  # which has the secret from the store
            assert "result" in other.invoke({"action": "list", **ALICE, **token})
        assert instance.invoke({"action": "token", "key": MINT_KEY, "revoke": minted["id"]})["result"] == {
            "revoked": minted["id"]
        }
        assert "revoked" in instance.invoke({"action": "list", **ALICE, **token})["error"]
        assert minted["token"] not in instance.log
        assert MINT_KEY not in instance.log


@pytest.mark.parametrize("event", [{}, {"user": "a/b"}, {"user": "a", "expires": "soon"}])
def test_token_that_makes_no_sense_is_refused(instance: Instance, event: dict[str, str]) -> None:
    answer = instance.invoke({"action": "token", "key": MINT_KEY, **event})
    assert set(answer) == {"error"}


def test_wrong_configuration_ends_with_a_line_per_mistake(tmp_path: Path) -> None:
    environ = {"PATH": SYSTEM_PATH, "FC_FUNCTION_NAME": "f", "TABLESTORE_VECTOR_DIMENSION": "many", "LOG_LEVEL": "loud"}
    done = subprocess.run([BOOTSTRAP], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert "TABLESTORE_VECTOR_DIMENSION" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_function_without_a_store_says_so(tmp_path: Path) -> None:
    environ = {"PATH": SYSTEM_PATH, "FC_FUNCTION_NAME": "f", "FC_CUSTOM_LISTEN_PORT": "1"}
    done = subprocess.run([BOOTSTRAP], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "TABLESTORE_INSTANCE_NAME" in done.stderr


def test_port_is_open_before_anything_heavy_is_imported() -> None:
    heavy = ("mcp", "starlette", "uvicorn", "numpy", "tablestore", "openai", "mem0")
    script = (
        "import sys, tablestore_openmemory_mcp.cli, tablestore_openmemory_mcp.server.listening;"
        f"sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == ""
