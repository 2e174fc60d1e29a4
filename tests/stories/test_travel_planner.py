"""The second story: told in Chinese through one application and model, known in another application with another."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.clients import over_sse, over_stdio
from support.fake_openai import FakeOpenAI
from support.processes import Server

FACTS = ["喜欢吃辣的东西", "现在住在上海", "爱看科幻电影"]
WHO = ("travel", "小李")


def client_process(url: str, tool: str, *arguments: str) -> Any:
    """What `tool` answers a client that is a process of its own."""
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-m", "support.call_tool", url, tool, *arguments]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def test_one_application_tells_and_another_knows(tmp_path: Path, llm: FakeOpenAI, cloud: dict[str, str]) -> None:
    with Server(tmp_path, LLM_MODEL="qwen-coder-plus", **cloud) as cline:
        told = client_process(cline.url(*WHO), "add_memories", "text=我喜欢吃辣的东西，现在住在上海，爱看科幻电影。")
        assert isinstance(told, dict)
        assert [(r["event"], r["memory"]) for r in told["results"]] == [("ADD", fact) for fact in FACTS]
    with Server(tmp_path, LLM_MODEL="qwen-max", **cloud) as cherry:
        hits = client_process(cherry.url(*WHO), "search_memories", "query=他住在哪个城市？")
        assert isinstance(hits, list)
        assert {hit["memory"] for hit in hits} == set(FACTS)
        assert hits[0]["memory"] == FACTS[1]
        for stranger in (("travel", "小王"), ("other", "小李")):
            with over_sse(cherry.url(*stranger)) as client:
                assert client.search("他住在哪个城市？") == client.memories() == []
        moved = client_process(cherry.url(*WHO), "add_memories", "text=我搬到杭州了")
        assert isinstance(moved, dict)
        assert [(r["event"], r["previous_memory"]) for r in moved["results"]] == [("UPDATE", "现在住在上海")]
    models = [request.body["model"] for request in llm.requests if request.route == "chat"]
    assert models == ["qwen-coder-plus", "qwen-max", "qwen-max"]


def test_the_same_over_stdio(tmp_path: Path, cloud: dict[str, str]) -> None:
    who = {"MCP_STDIO_CLIENT_NAME": "travel", "MCP_STDIO_USER_ID": "小赵"}
    with over_stdio(tmp_path, LLM_MODEL="qwen-coder-plus", **who, **cloud) as cline:
        cline.add("我喜欢吃辣的东西，现在住在上海，爱看科幻电影。")
        with over_stdio(tmp_path, LLM_MODEL="qwen-max", **who, **cloud) as cherry:
            assert sorted(cherry.texts()) == sorted(FACTS)
            for question, fact in zip(("周末去吃什么菜？", "他住在哪个城市？", "周末看什么电影？"), FACTS, strict=True):
                assert cherry.search(question)[0]["memory"] == fact
