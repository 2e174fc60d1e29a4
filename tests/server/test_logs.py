"""What the log says of a call, and what it never says. Every server process of the suite is checked when it ends."""

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import discretion
from support.clients import ToolFailed, over_sse
from support.processes import Server
from tablestore_openmemory_mcp.server import logs
from tablestore_openmemory_mcp.server.log_repeats import PER_MINUTE
from tablestore_openmemory_mcp.server.logs import JsonFormatter

WORDS = "my doctor says that I have to eat less salt"


def test_one_line_per_call_without_names_or_words(tmp_path: Path) -> None:
    with Server(tmp_path, MCP_AUTH_SECRET="a signing secret that is long enough") as server:
        with over_sse(server.url("cline", "alice-liddell")) as client:
            client.add(WORDS)
            client.search(WORDS)
            with pytest.raises(ToolFailed):
                client.add(" ")
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith('{"at"')]
    calls = [line for line in lines if line["logger"] == "tablestore_openmemory_mcp.calls"]
    assert [(c["tool"], c["outcome"]) for c in calls] == [
        ("add_memories", "ok"),
        ("search_memories", "ok"),
        ("add_memories", "InvalidInput"),
    ]
    assert len({c["request"] for c in calls}) == 3
    assert len({c["user"] for c in calls}) == 1  # the same person, whoever that is
    assert "writing" in calls[0]["phases_ms"]
    assert all(isinstance(c["ms"], int) and isinstance(c["queued_ms"], int) for c in calls)
    logged = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    assert "alice-liddell" not in logged
    assert WORDS not in logged


def formatted(name: str, message: str, *arguments: object, error: BaseException | None = None) -> str:
    about = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(name, logging.ERROR, "/somewhere/module.py", 7, message, arguments, about)
    return JsonFormatter().format(record)


def test_others_records_tell_only_where_and_what_kind() -> None:
    line = formatted("mcp.server.sse", f"Could not find session for ID: {WORDS}", error=ValueError(WORDS))
    assert WORDS not in line
    assert json.loads(line)["where"] == "module:7"
    assert json.loads(line)["exception"] == "builtins.ValueError"
    assert WORDS not in formatted("pydantic", "%s", WORDS)
    assert (
        json.loads(formatted("tablestore_openmemory_mcp.server.transports.sse.relay", "%d left", 3))["message"]
        == "3 left"
    )


@pytest.mark.parametrize(
    "slip",
    [
        "POST /mcp/messages/?session_id=0123456789abcdef0123456789abcdef 202",
        "token eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl",
        "Authorization: Bearer abcdefghijklmnopqrstuvwxyz",
        "OPENAI_API_KEY=sk-abcdef123456",
        "Traceback (most recent call last)",
        '{"at": "now", "message": "heard: ' + WORDS + '"}',
    ],
)
def test_the_check_of_the_suite_would_notice(slip: str) -> None:
    discretion.said(WORDS)
    discretion.check('{"at": "now", "message": "nothing special"}')
    with pytest.raises(AssertionError):
        discretion.check(slip)


class Stream:
    """A handler of logs.py over a clock that the test turns."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.handler = logs._Handler(self.text)
        self.handler.setFormatter(JsonFormatter())

    def say(
        self, at: float, line: int = 1, name: str = "tablestore_openmemory_mcp.server.transports.sse.endpoint"
    ) -> None:
        record = logging.LogRecord(name, logging.WARNING, "/somewhere/module.py", line, "cut %s", ("x",), None)
        record.created = at
        self.handler.handle(record)

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


def test_lines_that_repeat_are_counted() -> None:
    stream = Stream()
    for n in range(100_000):
        stream.say(1_000.0 + n / 10_000)
    assert len(stream.lines) == PER_MINUTE
    stream.say(1_005.0, line=2)  # another statement is not concerned
    assert len(stream.lines) == PER_MINUTE + 1
    stream.say(1_061.0, line=2)
    assert stream.lines[-2]["message"] == f"… repeated {100_000 - PER_MINUTE} times"
    assert stream.lines[-2]["where"] == "module:1"
    for _ in range(2 * PER_MINUTE):
        stream.say(1_062.0)
    stream.handler.tell_the_rest()
    assert stream.lines[-1]["message"] == f"… repeated {PER_MINUTE} times"


def test_no_call_is_left_out() -> None:
    stream = Stream()
    for _ in range(10 * PER_MINUTE):
        stream.say(1_000.0, name="tablestore_openmemory_mcp.calls")
    assert len(stream.lines) == 10 * PER_MINUTE


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 3), st.integers(1, 80)), max_size=30),
    st.sampled_from([1.0, -1.0]),
)
def test_every_line_is_printed_or_counted(said: list[tuple[float, int, int]], direction: float) -> None:
    """Whatever the clock does."""
    stream, clock, sent = Stream(), 10_000.0, 0
    for pause, line, times in said:
        clock += direction * pause
        for _ in range(times):
            stream.say(clock, line=line)
            sent += 1
    stream.handler.tell_the_rest()
    counted = sum(int(str(x["message"]).split()[2]) for x in stream.lines if str(x["message"]).startswith("…"))
    printed = [x for x in stream.lines if str(x["message"]).startswith("cut")]
    assert len(printed) + counted == sent
