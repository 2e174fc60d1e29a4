"""Cline's command line and opencode end to end, by the scripts of examples/clients: one is told, the other recalls.

The model is examples/clients/fake_llm.py: it calls the tool that it is told to, and repeats what the tool answered.
Both stories without a key have another, support.fake_openai.assistant: it follows the tools' descriptions alone.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support.clients import over_sse
from support.fake_openai import FakeOpenAI
from support.processes import Server, clean_environ, wait_until
from support.real_clients import HERE, NODE_MODULES, node

pytestmark = pytest.mark.slow

EXAMPLES = HERE.parent.parent / "examples" / "clients"
PATIENCE = 240  # seconds for one question on a slow machine


def run(script: str, *arguments: str, home: Path, model_url: str) -> subprocess.CompletedProcess[str]:
    """One of the two programs, asked once."""
    binaries = {name.upper(): str(NODE_MODULES / ".bin" / name) for name in ("cline", "opencode")}
    environ = clean_environ(home, AGENT_BASE_URL=model_url, **binaries)
    environ["PATH"] = f"{Path(node()).parent}:{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        [str(EXAMPLES / script), *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Agents:
    """The two programs, with one stand-in for their model."""

    def __init__(self, home: Path, model_url: str, model_log: Path) -> None:
        self._home, self._model_url, self._model_log = home, model_url, model_log

    def ask(self, script: str, *arguments: str) -> list[str]:
        """Have an agent asked; the answers of tools that its model got to see."""
        before = len(self._answers())
        done = run(script, *arguments, home=self._home, model_url=self._model_url)
        answers = self._answers()[before:]
        assert answers, f"no tool was called:\n{done.stdout}\n{done.stderr}\n{self._model_log.read_text()}"
        return answers

    def _answers(self) -> list[str]:
        lines = self._model_log.read_text().splitlines()[1:]
        return [answer for line in lines for answer in json.loads(line)["results"]]


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    log = tmp_path / "model.log"
    with log.open("w") as written:
        model = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "fake_llm.py")], stdout=written, stdin=subprocess.DEVNULL
        )
    try:
        wait_until(lambda: "\n" in log.read_text(), 30)
        yield Agents(tmp_path, log.read_text().strip(), log)
    finally:
        model.kill()
        model.wait()


class Told:
    """The two programs, with a model that does what the tools' descriptions say."""

    def __init__(self, home: Path, llm: FakeOpenAI) -> None:
        self._home, self._llm = home, llm

    def hear(self, script: str, *where: str, said: str) -> list[str]:
        """Which tools an agent called after it was told something, by their own names."""
        self._llm.forget()
        # Cline takes what has no blank for a command.
        run(script, *where, f"This is what I say: 「{said}」", home=self._home, model_url=self._llm.base_url)
        asked = [request.body for request in self._llm.requests if request.body.get("tools")]
        assert asked, "the model was offered no tool"
        calls = [call for message in asked[-1]["messages"] for call in message.get("tool_calls") or []]
        return [re.sub(r".*(?=(?:add|search|update|delete)_memor)", "", call["function"]["name"]) for call in calls]


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with FakeOpenAI() as llm:
        yield Told(tmp_path, llm)


def test_code_preference_without_a_key(told: Told, base: str) -> None:
    """The first story: told to Cline, found by opencode, corrected in place through Cline, with its history."""
    variables, constants = "变量采用小驼峰命名", "常量全部采用大写字母加下划线进行命名"
    sse, http = (f"{base}/mcp/agents/{transport}/{quote('小周')}" for transport in ("sse", "http"))
    assert (
        told.hear("cline.sh", "sse", sse, said=f"请记住我的编码偏好：{variables}，{constants}。")
        == ["add_memories"] * 2
    )
    assert told.hear("opencode.sh", http, said="我的常量应该怎么命名？") == ["search_memories"]
    with over_sse(sse) as client:
        before = {memory["memory"]: memory["id"] for memory in client.memories()}
    assert before.keys() == {variables, constants}

    corrected = "喜欢使用小写字母加下划线命名变量"
    assert told.hear("cline.sh", "http", http, said=f"我{corrected}") == ["add_memories", "update_memory"]
    with over_sse(sse) as client:
        after = {memory["memory"]: memory["id"] for memory in client.memories()}
        lineage = json.loads(client.call("memory_history", memory_id=before[variables]).text)
    assert after == {corrected: before[variables], constants: before[constants]}
    assert [(e["event"], e["old_memory"], e["new_memory"]) for e in lineage] == [
        ("ADD", None, variables),
        ("UPDATE", variables, corrected),
    ]


def test_travel_planner_without_a_key(told: Told, base: str) -> None:
    """The second story: told to Cline, known to opencode, and corrected there."""
    tastes = ["喜欢吃辣的东西", "现在住在上海", "爱看科幻电影"]
    sse, http = (f"{base}/mcp/agents-travel/{transport}/{quote('小李')}" for transport in ("sse", "http"))
    assert told.hear("cline.sh", "sse", sse, said=f"我{'，'.join(tastes)}。") == ["add_memories"] * 3
    assert told.hear("opencode.sh", http, said="周末在上海怎么安排吃饭和电影？") == ["search_memories"]
    with over_sse(sse) as client:
        before = {memory["memory"]: memory["id"] for memory in client.memories()}
    assert before.keys() == set(tastes)
    assert told.hear("opencode.sh", sse, said="我现在不吃辣的东西了，口味清淡") == ["add_memories", "update_memory"]
    with over_sse(sse) as client:
        after = {memory["memory"]: memory["id"] for memory in client.memories()}
    assert after == {"现在不吃辣的东西了，口味清淡": before[tastes[0]], **{t: before[t] for t in tastes[1:]}}


@pytest.mark.parametrize("opencode_over", ["http", "sse"])
def test_what_cline_is_told_opencode_recalls(opencode_over: str, agents: Agents, base: str) -> None:
    names = f"agents-{opencode_over}", "alice"
    told = agents.ask(
        "cline.sh", "sse", f"{base}/mcp/{names[0]}/sse/{names[1]}", "Use add_memories with text = I like jasmine tea."
    )
    assert '\\"event\\":\\"ADD\\"' in told[0], told

    url = f"{base}/mcp/{names[0]}/{opencode_over}/{names[1]}"
    (recalled,) = agents.ask("opencode.sh", url, "Use search_memories with query = tea.")
    (memory,) = json.loads(recalled)
    assert (memory["memory"], memory["user_id"]) == ("I like jasmine tea", "alice")


def test_cline_over_http_and_stdio(agents: Agents, server: Server, tmp_path: Path) -> None:
    assert server.port  # it has printed its blocks
    block = tmp_path / "block.json"
    block.write_text(server.log.split("over stdio (the same memories):\n")[1].split("\n}\n")[0] + "\n}\n")
    names = "stdio_default_client/http/stdio_default_user"  # as the block has them
    url = f"http://localhost:{server.port}/mcp/{names}"

    agents.ask("cline.sh", "http", url, "Use add_memories with text = I like green tea.")
    listed = agents.ask("cline.sh", "pasted", str(block), "Use list_memories.")
    assert "I like green tea" in listed[0]
