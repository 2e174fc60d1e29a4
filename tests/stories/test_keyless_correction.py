"""Both stories without a key: nobody here compares, so the assistant at the other end does, as it is told to.

The assistant is a fake one (support.fake_openai.assistant). It knows the tools' descriptions, what they answer, and
nothing of these tests. tests/clients/test_agents.py tells the same stories through Cline's command line and opencode.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from support.clients import MemoryClient, over_http, over_sse, over_stdio
from support.fake_openai import FakeOpenAI
from support.processes import Server

Connect = Callable[[], contextlib.AbstractContextManager[MemoryClient]]
VARIABLES, CONSTANTS, FUNCTIONS = "变量采用小驼峰命名", "常量全部采用大写字母加下划线进行命名", "函数名以动词开头"
CORRECTED = "喜欢使用小写字母加下划线命名变量"
TASTES = ["喜欢吃辣的东西", "现在住在上海", "爱看科幻电影"]


class Assistant:
    """A chat with the model, which calls the tools of `client` until it has something to say."""

    def __init__(self, llm: FakeOpenAI, client: MemoryClient) -> None:
        self._model = openai.OpenAI(api_key="any", base_url=llm.base_url)
        self._client = client
        self.called: list[str] = []

    def hear(self, said: str) -> str:
        messages: list[Any] = [{"role": "user", "content": said}]
        tools: Any = [{"type": "function", "function": tool} for tool in self._client.described()]
        for _ in range(20):
            message = (
                self._model.chat.completions.create(model="any", messages=messages, tools=tools).choices[0].message
            )
            if not message.tool_calls:
                return message.content or ""
            messages.append(message.model_dump())
            for call in message.tool_calls:
                assert call.type == "function"
                self.called.append(call.function.name)
                answer = self._client.call(call.function.name, **json.loads(call.function.arguments))
                assert not answer.failed, answer.text
                messages.append({"role": "tool", "tool_call_id": call.id, "content": answer.text})
        raise AssertionError(f"no end of it: {self.called}")


def heard(llm: FakeOpenAI, connect: Connect, said: str) -> tuple[list[str], str]:
    """In a session of its own: which tools were called, and what was said at the end."""
    with connect() as client:
        assistant = Assistant(llm, client)
        end = assistant.hear(said)
        return assistant.called, end


@pytest.fixture(params=["sse", "http", "stdio"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connect]:
    """Another connection to the same memory each time, without a key."""
    if request.param == "stdio":
        yield partial(over_stdio, tmp_path)
        return
    server: Server = request.getfixturevalue("keyless")
    url = server.url("correcting", f"小周 over {request.param}")
    yield partial(over_sse, url) if request.param == "sse" else partial(over_http, url.replace("/sse/", "/http/"))


def test_code_preference(connection: Connect, llm: FakeOpenAI) -> None:
    """Told, found from a new connection, and corrected in place, with its history."""
    called, _ = heard(llm, connection, f"请记住我的编码偏好：{VARIABLES}，{CONSTANTS}，{FUNCTIONS}。")
    assert called == ["add_memories"] * 3
    called, answer = heard(llm, connection, "我的常量应该怎么命名？")
    assert called == ["search_memories"]
    assert CONSTANTS in answer
    with connection() as client:
        before = {memory["memory"]: memory for memory in client.memories()}
    assert before.keys() == {VARIABLES, CONSTANTS, FUNCTIONS}

    called, _ = heard(llm, connection, f"我{CORRECTED}")
    assert called == ["add_memories", "update_memory"]
    with connection() as client:
        after = {memory["memory"]: memory for memory in client.memories()}
        assert after.keys() == {CORRECTED, CONSTANTS, FUNCTIONS}
        old, new = before[VARIABLES], after[CORRECTED]
        assert (new["id"], new["created_at"]) == (old["id"], old["created_at"])
        assert [(e["event"], e["old_memory"], e["new_memory"]) for e in history(client, old["id"])] == [
            ("ADD", None, VARIABLES),
            ("UPDATE", VARIABLES, CORRECTED),
        ]
    _, answer = heard(llm, connection, "变量用什么风格命名？")
    assert CORRECTED in answer
    assert VARIABLES not in answer
    called, _ = heard(llm, connection, f"请记住，{CORRECTED}。")
    assert called == ["add_memories"]
    with connection() as client:
        assert set(client.texts()) == after.keys()


def test_travel_planner(keyless: Server, llm: FakeOpenAI) -> None:
    """Told to one application, known in another, and corrected there; a third one's memory is its own."""
    cline = partial(over_sse, keyless.url("travel", "小李"))
    cherry = partial(over_http, keyless.url("travel", "小李").replace("/sse/", "/http/"))
    called, _ = heard(llm, cline, f"我{TASTES[0]}，{TASTES[1]}，{TASTES[2]}。")
    assert called == ["add_memories"] * 3
    called, answer = heard(llm, cherry, "周末在上海怎么安排吃饭和电影？")
    assert called == ["search_memories"]
    assert all(taste in answer for taste in TASTES)
    called, _ = heard(llm, cherry, "现在不吃辣的东西了，口味清淡")
    assert called == ["add_memories", "update_memory"]
    with cline() as client:
        assert set(client.texts()) == {"现在不吃辣的东西了，口味清淡", *TASTES[1:]}
        assert {memory["memory"] for memory in client.memories()} == set(client.texts())
    with over_sse(keyless.url("other", "小李")) as stranger:
        assert stranger.memories() == []


def test_a_move_is_understood_with_an_embedder(tmp_path: Path, llm: FakeOpenAI) -> None:
    """The two texts share no word: what is near by meaning is told, without any LLM here."""
    embedder = {"EMBEDDER_API_KEY": "sk-fake", "EMBEDDER_BASE_URL": llm.base_url}
    with Server(tmp_path, **embedder) as server:
        connect = partial(over_sse, server.url("travel", "小李"))
        heard(llm, connect, f"我{TASTES[0]}，{TASTES[1]}，{TASTES[2]}。")
        llm.forget()
        called, _ = heard(llm, connect, "我搬到杭州了")
        assert called == ["add_memories", "update_memory"]
        assert (llm.count("extraction"), llm.count("update")) == (0, 0)
        with connect() as client:
            assert set(client.texts()) == {"搬到杭州了", TASTES[0], TASTES[2]}


def test_what_is_only_repeated_is_not_kept_twice(keyless: Server, llm: FakeOpenAI) -> None:
    connect = partial(over_sse, keyless.url("repeating", "小李"))
    heard(llm, connect, "我喜欢喝绿茶。")
    called, _ = heard(llm, connect, "我平时喜欢喝绿茶。")
    assert called == ["add_memories", "delete_memories"]
    with connect() as client:
        assert client.texts() == ["喜欢喝绿茶"]


@pytest.mark.parametrize(
    "environ", [{"EXTRA_TOOLS": "false"}, {"TOOL_ADD_MEMORIES_DESCRIPTION": "Call it when the user states a fact"}]
)
def test_an_assistant_that_is_not_told_corrects_nothing(
    tmp_path: Path, llm: FakeOpenAI, environ: dict[str, str]
) -> None:
    """So it is the descriptions that it follows."""
    with Server(tmp_path, **environ) as server:
        connect = partial(over_sse, server.url("cline", "小周"))
        heard(llm, connect, f"我{VARIABLES}。")
        called, _ = heard(llm, connect, f"我{CORRECTED}")
        assert called == ["add_memories"]
        with connect() as client:
            assert len(client.memories()) == 2


def history(client: MemoryClient, memory_id: str) -> list[dict[str, Any]]:
    answer = client.call("memory_history", memory_id=memory_id)
    assert not answer.failed, answer.text
    entries: list[dict[str, Any]] = json.loads(answer.text)
    return entries
