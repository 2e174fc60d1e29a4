"""EXTRA_TOOLS: memories one by one, on the real stack without a key."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from mcp_types import Tool

from support.clients import MemoryClient, over_sse
from support.processes import START, Server, wait_until
from tablestore_openmemory_mcp.server.tools.builtin import instructions, offered
from tablestore_openmemory_mcp.settings import ConfigurationError, Settings

EXTRA = ["get_memory", "update_memory", "delete_memories", "memory_history"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("extra"), EXTRA_TOOLS="true") as running:
        yield running


def answer(client: MemoryClient, tool: str, **arguments: Any) -> Any:
    given = client.call(tool, **arguments)
    assert not given.failed, given.text
    return json.loads(given.text)


def test_one_memory_is_looked_up_corrected_traced_and_forgotten(server: Server) -> None:
    with over_sse(server.url("cline", "alice")) as client:
        assert client.tools()[4:] == EXTRA
        first = client.add("Constants are written in capitals")["results"][0]["id"]
        second = client.add("变量用小写加下划线")["results"][0]["id"]
        assert answer(client, "get_memory", memory_id=first)["memory"] == "Constants are written in capitals"
        (updated,) = answer(client, "update_memory", memory_id=first, text="Constants are in lower case")["results"]
        assert updated == {
            "id": first,
            "memory": "Constants are in lower case",
            "event": "UPDATE",
            "previous_memory": "Constants are written in capitals",
        }
        entries = answer(client, "memory_history", memory_id=first)
        assert [(e["event"], e["old_memory"], e["new_memory"], e["mcp_client"]) for e in entries] == [
            ("ADD", None, "Constants are written in capitals", "cline"),
            ("UPDATE", "Constants are written in capitals", "Constants are in lower case", "cline"),
        ]
        refused = client.call("delete_memories", memory_ids=[second, "unknown"])
        assert refused.failed
        assert len(client.memories()) == 2
        (deleted,) = answer(client, "delete_memories", memory_ids=[second])["results"]
        assert (deleted["id"], deleted["event"]) == (second, "DELETE")
        assert client.texts() == ["Constants are in lower case"]


LLM = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": "https://llm.example.com/v1"}
CORRECTING = ("update_memory", "delete_memories")


def tools(**environ: str) -> dict[str, Tool]:
    settings = Settings.load(environ)
    return {name: spec.tool(settings) for name, spec in offered(settings).items()}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, True),
        ({"EXTRA_TOOLS": "auto"}, True),
        ({"EXTRA_TOOLS": "AUTO", **LLM, "MEMORY_PIPELINE": "verbatim"}, True),
        (LLM, False),
        ({"MEMORY_PIPELINE": "additive", **LLM}, False),
        ({"EXTRA_TOOLS": "false"}, False),
        ({"EXTRA_TOOLS": "true", **LLM}, True),
        ({"EXTRA_TOOLS": "1", **LLM}, True),
    ],
)
def test_where_no_llm_of_ours_corrects_the_clients_own_may(environ: dict[str, str], wanted: bool) -> None:
    assert [name for name in tools(**environ) if name in EXTRA] == EXTRA * wanted


def test_a_switch_that_cannot_be_understood() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load({"EXTRA_TOOLS": "sometimes"})
    assert refused.value.lines == ["EXTRA_TOOLS cannot be used: write auto, true or false."]


@pytest.mark.parametrize("hidden", [(), CORRECTING[:1], CORRECTING[1:], CORRECTING])
@pytest.mark.parametrize("environ", [{}, LLM, {"EXTRA_TOOLS": "true", **LLM}, {"EXTRA_TOOLS": "false"}])
def test_the_model_is_told_of_no_tool_that_it_has_not(environ: dict[str, str], hidden: tuple[str, ...]) -> None:
    """And of `related` only where it is given, and can be acted upon."""
    environ = {**environ, "TOOL_BLACK_LIST": json.dumps(hidden)}
    told = [tools(**environ)["add_memories"].description or "", instructions(Settings.load(environ))]
    verbatim = "OPENAI_API_KEY" not in environ
    for text in told:
        for tool in CORRECTING:
            assert (tool in text) == (verbatim and tool in tools(**environ))
        assert ("`related`" in text) == (verbatim and "EXTRA_TOOLS" not in environ and hidden != CORRECTING)
    assert ("word for word" in told[0]) == verbatim
    own = tools(**environ, TOOL_ADD_MEMORIES_DESCRIPTION="记住")["add_memories"].description
    assert own == "记住"


@pytest.mark.parametrize("environ", [{}, LLM])
def test_more_arguments_and_tools_and_nothing_else_is_changed(environ: dict[str, str]) -> None:
    usual = tools(**environ, EXTRA_TOOLS="false")
    more = tools(**environ, EXTRA_TOOLS="true")
    assert list(more) == [*usual, *EXTRA]
    if not environ:  # what it says of `related`
        usual["add_memories"].description = more["add_memories"].description
    del more["add_memories"].input_schema["properties"]["expires_at"]
    assert {name: more[name] for name in usual} == usual
    hints = {name: more[name].annotations for name in EXTRA}
    assert [hint.read_only_hint for hint in hints.values() if hint] == [True, False, False, True]
    assert [hint.destructive_hint for hint in hints.values() if hint] == [False, True, True, False]


def test_another_scopes_id_does_not_exist(server: Server) -> None:
    with over_sse(server.url("cline", "bob")) as bob, over_sse(server.url("other", "bob")) as other:
        theirs = bob.add("Bob's own fact")["results"][0]["id"]
        assert other.call("get_memory", memory_id=theirs).failed
        assert other.call("update_memory", memory_id=theirs, text="mine now").failed
        assert other.call("delete_memories", memory_ids=[theirs]).failed
        assert other.call("memory_history", memory_id=theirs).failed
        assert bob.texts() == ["Bob's own fact"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2099-01-31T18:00:00+08:00", "2099-01-31T10:00:00.000+00:00"),
        ("2099-01-31T18:00:00Z", "2099-01-31T18:00:00.000+00:00"),
        ("2099-01-31 18:00", "2099-01-31T18:00:00.000+00:00"),
        ("2099-01-31", "2099-02-01T00:00:00.000+00:00"),  # to the end of that day, as in Mem0
        (" 2099-01-31 ", "2099-02-01T00:00:00.000+00:00"),
        ("9999-12-30", "9999-12-31T00:00:00.000+00:00"),
        ("9999-12-31", "9999-12-31T23:59:59.999+00:00"),
        ("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999+00:00"),
        ("", None),
        (" ", None),
    ],
)
def test_what_is_true_for_a_while(server: Server, written: str, shown: str | None) -> None:
    with over_sse(server.url("cline", f"carol {written.encode().hex()}")) as client:
        client.add("The office is in Hangzhou")
        (added,) = answer(client, "add_memories", text="I am in Shanghai this month", expires_at=written)["results"]
        newest, older = client.memories()
        assert newest["id"] == added["id"]
        assert newest.get("expires_at") == shown
        assert "expires_at" not in older
        (hit, *_) = client.search("Shanghai")
        assert {**newest, "score": hit.get("score")} == {"score": None, **hit}
        assert answer(client, "get_memory", memory_id=added["id"]) == newest


def test_an_expiry_is_moved_kept_and_taken_away(server: Server) -> None:
    with over_sse(server.url("cline", "erin")) as client:
        text = "I am in Hangzhou until the end of the month"
        memory = answer(client, "add_memories", text=text, expires_at="2098-01-01")["results"][0]["id"]

        def expiry_after(**update: str) -> str | None:
            answer(client, "update_memory", memory_id=memory, **{"text": text, **update})
            shown: str | None = answer(client, "get_memory", memory_id=memory).get("expires_at")
            return shown

        assert expiry_after(expires_at="2099-01-01T00:00Z") == "2099-01-01T00:00:00.000+00:00"
        assert expiry_after(text="I am in Hangzhou until 2099") == "2099-01-01T00:00:00.000+00:00"
        assert expiry_after(expires_at="") is None
        assert expiry_after() is None
        assert expiry_after(expires_at="2099-01-01T00:00Z") == "2099-01-01T00:00:00.000+00:00"


def test_a_day_lasts_to_its_end_and_a_moment_passes(server: Server) -> None:
    with over_sse(server.url("cline", "frank")) as client:
        client.add("I like tea")
        wait_until(lambda: datetime.now(UTC).time() < time(23, 59, 50), START)
        today = datetime.now(UTC).date().isoformat()
        answer(client, "add_memories", text="The lift is out of order today", expires_at=today)
        soon = datetime.now(UTC) + timedelta(seconds=5)
        (added,) = answer(client, "add_memories", text="The kettle is hot", expires_at=soon.isoformat())["results"]
        wait_until(lambda: datetime.now(UTC) > soon, START)
        assert "The kettle is hot" not in client.texts()
        assert "The kettle is hot" not in [hit["memory"] for hit in client.search("The kettle is hot")]
        assert client.call("get_memory", memory_id=added["id"]).failed
        assert client.call("update_memory", memory_id=added["id"], text="The kettle is cold").failed


PAST = ("2020-01-01", "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z")
NO_DATES = ("soon", "2099-02-30", "31.01.2099", "4070908800000", "2099-01-31T25:00", "明天", "\0")


@pytest.mark.parametrize(
    ("written", "said"), [*((past, "past") for past in PAST), *((none, "no date") for none in NO_DATES)]
)
@pytest.mark.parametrize("tool", ["add_memories", "update_memory"])
def test_an_expiry_that_cannot_be_is_explained(server: Server, tool: str, written: str, said: str) -> None:
    with over_sse(server.url("cline", "grace")) as client:
        refused = client.call(tool, **arguments_of(tool), expires_at=written)
        assert refused.failed
        assert said in refused.text
        assert "2027-01-31" in refused.text
        assert client.memories() == []


@pytest.mark.parametrize("given", [4070908800000, ["2099-01-31"], True, {"date": "2099-01-31"}])
@pytest.mark.parametrize("tool", ["add_memories", "update_memory"])
def test_an_expiry_is_a_string(server: Server, tool: str, given: Any) -> None:
    with over_sse(server.url("cline", "grace")) as client:
        refused = client.call(tool, **arguments_of(tool), expires_at=given)
        assert refused.failed
        assert "'expires_at' as a string" in refused.text
        assert client.memories() == []


def arguments_of(tool: str) -> dict[str, str]:
    return {"text": "I am in Hangzhou"} | ({"memory_id": "unknown"} if tool == "update_memory" else {})


@pytest.mark.parametrize(
    ("tool", "arguments", "complaint"),
    [
        ("delete_memories", {"memory_ids": "all"}, "a list of strings"),
        ("delete_memories", {"memory_ids": [1]}, "a list of strings"),
        ("delete_memories", {"memory_ids": []}, ""),
        ("get_memory", {}, "a string"),
        ("get_memory", {"memory_id": "unknown"}, "no memory"),
        ("get_memory", {"memory_id": "x" * 2_000}, "no memory"),
        ("memory_history", {"memory_id": "unknown"}, "no history"),
        ("memory_history", {"memory_id": "x" * 2_000}, "no history"),
        ("memory_history", {"memory_id": ""}, "no history"),
        ("update_memory", {"memory_id": "x" * 2_000, "text": "x"}, "no memory"),
        ("update_memory", {"memory_id": "unknown", "text": ""}, "empty"),
        ("update_memory", {"memory_id": "unknown"}, "'text' as a string"),
        ("delete_memories", {"memory_ids": [str(n) for n in range(10_000)]}, "no memory"),
    ],
)
def test_wrong_arguments(server: Server, tool: str, arguments: dict[str, Any], complaint: str) -> None:
    with over_sse(server.url("cline", "dave")) as client:
        given = client.call(tool, **arguments)
        assert given.failed
        assert complaint in given.text
