"""Who gets a token by an event: the operator, whatever a client can send."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.emulator import Emulator
from support.function_compute import MINT_KEY, Instance, Role, tablestore
from tablestore_openmemory_mcp.errors import StoreUnavailable
from tablestore_openmemory_mcp.fc import lifecycle
from tablestore_openmemory_mcp.fc.lifecycle import Lifecycle
from tablestore_openmemory_mcp.fc.operator import is_operator
from tablestore_openmemory_mcp.settings import ConfigurationError, Settings

ROOT = Path(__file__).resolve().parents[2]
EVERYONE: dict[str, Any] = {"action": "token", "user": "*", "client": "*", "expires": "never"}
FORGED: list[dict[str, Any]] = [
    {},
    {"key": None},
    {"key": ""},
    {"key": True},
    {"key": [MINT_KEY]},
    {"key": {"$eq": MINT_KEY}},
    {"key": MINT_KEY + " "},
    {"key": MINT_KEY[:-1]},
    {"key": MINT_KEY.upper()},
    {"KEY": MINT_KEY},
]


def with_key(key: str | None) -> Settings:
    return Settings.load({"MCP_MINT_KEY": key} if key else {})


@pytest.mark.parametrize("variables", [{}, {"MCP_MINT_KEY": ""}], ids=["with a key", "without"])
def test_a_forged_invocation_mints_and_revokes_nothing(variables: dict[str, str], tmp_path: Path) -> None:
    """As if the platform passed `x-fc-control-path: /invoke` on from a client."""
    with Emulator() as emulator:
        environ = tablestore(emulator) | {"MEMORY_PIPELINE": "verbatim"} | variables
        with Instance(ROOT / "bootstrap", tmp_path / "log", Role(emulator), **environ) as instance:
            for forged in FORGED:
                for asked in (EVERYONE, {"action": "token", "revoke": "x"}):
                    answer = instance.invoke(asked | forged)
                    assert set(answer) == {"error"}
                    assert "scripts/mint.py" in answer["error"]
                    assert MINT_KEY not in answer["error"]
            minted = instance.invoke(EVERYONE | {"key": MINT_KEY})
            assert ("result" in minted) == (not variables)
            assert MINT_KEY not in instance.log


STRINGS = st.text() | st.text(st.characters(categories=["Cs"])) | st.just(MINT_KEY)


@settings(deadline=None)
@given(STRINGS | st.binary() | st.none() | st.integers() | st.lists(STRINGS))
def test_only_the_key_is_the_key(given_key: Any) -> None:
    event = {"key": given_key}
    assert is_operator(with_key(MINT_KEY), event) == (given_key == MINT_KEY)
    assert not is_operator(with_key(None), event)


@pytest.mark.parametrize("weak", ["sh0rt", "x" * 64, "abab" * 16])
@pytest.mark.parametrize("name", ["MCP_MINT_KEY", "MCP_AUTH_SECRET"])
def test_a_key_that_can_be_guessed_is_refused(name: str, weak: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is too") as told:
        Settings.load({name: weak})
    assert weak not in str(told.value)


def test_a_list_of_no_secrets_is_no_unset_secret() -> None:
    with pytest.raises(ConfigurationError, match="MCP_AUTH_SECRET holds no secret"):
        Settings.load({"MCP_AUTH_SECRET": " , ,"})


def test_the_signing_secret_is_not_sent_around_as_mint_key() -> None:
    one = "a secret for everything is one too few"
    with pytest.raises(ConfigurationError, match="must not be"):
        Settings.load({"MCP_AUTH_SECRET": one, "MCP_MINT_KEY": one})


# The hooks


class Busy:
    """An application whose calls never end."""

    def __init__(self) -> None:
        self.waiting = 0
        self.calls = self

    async def settled(self) -> None:
        self.waiting += 1
        await anyio.sleep_forever()


def test_many_pre_stops_hold_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "PRE_STOP_SECONDS", 0.2)
    app, answered = Busy(), 0

    async def hook(life: Lifecycle) -> None:
        nonlocal answered
        await life.pre_stop()
        answered += 1

    async def main() -> None:
        life = Lifecycle(app, lambda deadline: None)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(hook, life)
            await anyio.wait_all_tasks_blocked()
            assert answered == 48
        assert answered == 50
        await life.pre_stop()  # after a freeze it may come again

    anyio.run(main)
    assert app.waiting == lifecycle.MAX_WAITING + 1


@pytest.mark.parametrize("fails", [False, True])
def test_initialize_works_once_however_often_it_comes(fails: bool) -> None:
    tries = []

    def warm(deadline: float) -> None:
        tries.append(deadline)
        if fails:
            raise StoreUnavailable("away")

    async def main() -> None:
        life = Lifecycle(Busy(), warm)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(life.initialize)
        await life.initialize()

    anyio.run(main)
    assert len(tries) == 1


# The operator's command


class Project:
    """What `s init` made, with an `s` that notes how it was called."""

    def __init__(self, folder: Path, environment: str) -> None:
        (folder / "scripts").mkdir()
        (folder / "bin").mkdir()
        (folder / "scripts" / "mint.py").write_bytes((ROOT / "scripts" / "mint.py").read_bytes())
        self.environment = folder / ".env"
        self.environment.write_text(environment)
        self.noted = folder / "noted"
        s = folder / "bin" / "s"
        s.write_text(f'#!/bin/sh\necho "$@" > {self.noted}\ncat "$3" >> {self.noted}\n')
        s.chmod(0o755)
        self._folder = folder

    def mint(self, *words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self._folder / "bin"), os.environ["PATH"]])
        command = [sys.executable, str(self._folder / "scripts" / "mint.py"), *words]
        return subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)

    def event(self) -> dict[str, str]:
        command, _, event = self.noted.read_text().partition("\n")
        assert command.startswith("invoke -f ")
        assert "key" not in command.lower()
        decoded: dict[str, str] = json.loads(event)
        return decoded


@pytest.mark.parametrize("line", ["MCP_MINT_KEY='{}'", 'MCP_MINT_KEY="{}"', "export MCP_MINT_KEY={}"])
def test_one_command_asks_for_a_token_with_the_key_of_env(tmp_path: Path, line: str) -> None:
    project = Project(tmp_path, f"OPENAI_API_KEY='sk-x'\n{line.format('k3y_-' * 8)}\n")
    assert project.mint("--user", "张三", "--client", "cline", "--expires", "12h").returncode == 0
    who = {"user": "张三", "client": "cline", "expires": "12h"}
    assert project.event() == {"action": "token", "key": "k3y_-" * 8, **who}
    assert project.mint("--revoke", "6b14").returncode == 0
    assert project.event() == {"action": "token", "key": "k3y_-" * 8, "revoke": "6b14"}


@pytest.mark.parametrize("before", ["", "MCP_MINT_KEY=''\n", "OPENAI_API_KEY='sk-x'"])
def test_a_project_without_a_key_gets_one(tmp_path: Path, before: str) -> None:
    project = Project(tmp_path, before)
    first = project.mint("--user", "alice")
    assert first.returncode == 1
    assert "s deploy" in first.stderr
    assert not project.noted.exists()
    assert stat.S_IMODE(project.environment.stat().st_mode) == 0o600
    lines = project.environment.read_text().splitlines()
    assert [line for line in lines if "OPENAI" in line] == [line for line in before.splitlines() if "OPENAI" in line]
    assert project.mint("--user", "alice").returncode == 0
    assert with_key(project.event()["key"]).mcp_mint_key
