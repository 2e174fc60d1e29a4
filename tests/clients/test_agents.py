"""Cline's command line and opencode end to end, by the scripts of examples/clients: one is told, the other recalls.

The model is examples/clients/fake_llm.py: it calls the tool that it is told to, and repeats what the tool answered.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Server, clean_environ, wait_until
from support.real_clients import HERE, NODE_MODULES, node

pytestmark = pytest.mark.slow

EXAMPLES = HERE.parent.parent / "examples" / "clients"
PATIENCE = 240  # seconds for one question on a slow machine


class Agents:
    """The two programs, with one stand-in for their model."""

    def __init__(self, home: Path, model_url: str, model_log: Path) -> None:
        binaries = {name.upper(): str(NODE_MODULES / ".bin" / name) for name in ("cline", "opencode")}
        self._environ = clean_environ(home, AGENT_BASE_URL=model_url, **binaries)
        self._environ["PATH"] = f"{Path(node()).parent}:{Path(sys.executable).parent}:{self._environ['PATH']}"
        self._model_log = model_log

    def ask(self, script: str, *arguments: str, **variables: str) -> list[str]:
        """Have an agent asked; the answers of tools that its model got to see."""
        before = len(self._answers())
        done = subprocess.run(
            [str(EXAMPLES / script), *arguments],
            env=self._environ | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
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
