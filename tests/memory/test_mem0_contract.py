"""What mem0/engine.py relies on in the pinned Mem0, and that Mem0 keeps to itself."""

import contextlib
import inspect
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from support.fake_openai import FakeOpenAI, Fault, chat
from tablestore_openmemory_mcp.memory.mem0.engine import ScopedMem0, mem0_ids, prompts
from tablestore_openmemory_mcp.memory.model import AddResult, Outcome
from tablestore_openmemory_mcp.memory.models import prompts as prompts_module
from tablestore_openmemory_mcp.scope import Scope


def test_this_is_the_version_that_the_contract_was_read_from() -> None:
    assert version("mem0ai") == "2.2.1"


def test_memory_add_calls_one_step_with_what_we_override() -> None:
    from mem0.memory.main import Memory  # after ours at the top, which keeps it quiet

    given = inspect.signature(Memory._add_to_vector_store)
    assert list(given.parameters) == ["self", "messages", "metadata", "filters", "infer", "prompt"]
    source = inspect.getsource(Memory.add)
    assert source.count("self._add_to_vector_store(") == 1


def test_the_shipped_prompts_have_the_places_that_we_fill() -> None:
    shipped = prompts(None, None)
    assert shipped.shipped_extraction.count("Today's date is ") == 1
    system, user = shipped.extraction("我住在 {上海}")
    assert '"facts"' in system["content"]
    assert user["content"] == "Input:\nuser: 我住在 {上海}"
    [update] = shipped.update({"0": "住在{上海}"}, ["住在北京"])
    assert '[{"id": "0", "text": "住在{上海}"}]' in update["content"]
    assert '["住在北京"]' in update["content"]


def test_todays_date_is_that_of_the_day_not_of_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(date):
        @classmethod
        def today(cls) -> "Later":
            return cls(2031, 5, 6)

    monkeypatch.setattr(prompts_module, "date", Later)
    system, _ = prompts(None, None).extraction("x")
    assert "Today's date is 2031-05-06." in system["content"]


def test_own_prompts_replace_the_shipped_ones_and_braces_are_only_text() -> None:
    own = prompts("只记住 {食物}。", "Keep {everything}.")
    system, _ = own.extraction("x")
    assert system["content"].startswith("只记住 {食物}。")
    assert '"facts"' in system["content"]
    assert "json" in system["content"].lower()
    [update] = own.update({"0": "a"}, ["b"])
    assert update["content"].startswith("Keep {everything}.")
    assert '"memory"' in update["content"]


class Step:
    """What Mem0's add calls instead of its own vector phase; keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Mapping[str, Any]]] = []

    def __call__(self, text: str, metadata: Mapping[str, Any]) -> AddResult:
        self.seen.append((text, metadata))
        return AddResult([])


def test_names_that_mem0_refuses_reach_it_encoded_and_stay_apart() -> None:
    names = ["张 三", "a b", "a%20b", "a\u3000b", "🙂", "A", "a"]
    assert len({mem0_ids(Scope(n, "c"))["user_id"] for n in names}) == len(names)
    for name in names:
        step = Step()
        ScopedMem0(Scope(name, name), step).remember("x", {})
        assert [text for text, _ in step.seen] == ["x"]


def test_what_the_step_made_comes_back_as_it_is() -> None:
    """With its note, which Mem0's own form of a result has no room for."""
    made = AddResult([Outcome("1", "x", "ADD")], "a note")
    mem0 = ScopedMem0(Scope("u", "c"), lambda text, metadata: made)
    assert mem0.remember("x", {}) is made
    assert mem0.add("x", **mem0_ids(Scope("u", "c"))) == {"results": [{"id": "1", "memory": "x", "event": "ADD"}]}


def test_metadata_cannot_carry_an_identity() -> None:
    step = Step()
    mem0 = ScopedMem0(Scope("u", "c"), step)
    mem0.remember("x", {"user_id": "victim", "agent_id": "other", "run_id": "r", "actor_id": "a", "kept": 1})
    assert [metadata for _, metadata in step.seen] == [{"kept": 1}]


def test_a_bound_mem0_refuses_another_scope() -> None:
    with pytest.raises(ValueError, match="another"):
        ScopedMem0(Scope("u", "c"), lambda text, metadata: AddResult([])).add("x", user_id="victim", agent_id="c")


def test_mem0_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("mem0.memory.main").critical("a memory's text")
        ScopedMem0(Scope("u", "c"), lambda text, metadata: AddResult([])).remember("secret text", {"user_id": "x"})
    assert "secret text" not in caplog.text
    assert "a memory's text" not in caplog.text
    assert os.environ.get("MEM0_TELEMETRY") is None


def test_mem0_silences_nobody_else() -> None:
    """It sets urllib3's level when imported; in a process of its own, since other tests import other libraries."""
    code = (
        "import logging; from tablestore_openmemory_mcp.memory.mem0 import engine; "
        "assert logging.getLogger('urllib3').isEnabledFor(logging.WARNING)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_mem0_has_no_use_for_here_is_not_imported_and_stays_importable() -> None:
    """Qdrant's client takes four fifths of the time of Mem0's import, and most of its memory."""
    code = (
        "import sys; from tablestore_openmemory_mcp.memory.mem0 import engine; "
        "unused = {'qdrant_client', 'posthog', 'grpc'}; "
        "assert not unused & sys.modules.keys(), unused & sys.modules.keys(); "
        "import qdrant_client, posthog; assert qdrant_client.QdrantClient.upsert and posthog.Posthog.capture"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


WATCHER = """
import os, sys
watched = {"sockets": set(), "files": set()}
def hook(event, args):
    if event == "socket.connect":
        watched["sockets"].add(str(args[1]))
    elif event == "socket.getaddrinfo":
        watched["sockets"].add(f"lookup {args[0]}")
    elif event == "open" and isinstance(args[0], (str, bytes, os.PathLike)) and isinstance(args[2], int):
        if args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            watched["files"].add(os.path.realpath(os.fsdecode(args[0])))
    elif event in ("os.mkdir", "os.rename", "sqlite3.connect"):
        watched["files"].add(os.path.realpath(os.fsdecode(args[0])))
sys.addaudithook(hook)
sys.dont_write_bytecode = True
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import ModelUnavailable
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
service = MemoryService.from_settings(Settings.load(dict(a.split("=", 1) for a in sys.argv[1:])), PlainStore())
scope = Scope("u", "c")
try:
    assert service.add(scope, "我住在上海。我喜欢吃辣的东西。").results
    assert service.add(scope, "我现在住在北京").results
    assert service.search(scope, "住在哪里")
except ModelUnavailable:
    print("away")
service.delete_all(scope)
for kind, names in watched.items():
    for name in sorted(names):
        print(kind, name)
"""


@pytest.mark.parametrize(
    ("environ", "away"),
    [
        ({}, False),
        ({"MEMORY_PIPELINE": "additive"}, False),
        ({"MEMORY_PIPELINE": "verbatim"}, False),
        ({"ADD_FALLBACK": "verbatim"}, True),
        ({}, True),
    ],
)
def test_no_socket_but_to_the_endpoint_and_no_file_but_in_the_temporary_folder(
    fake: FakeOpenAI, tmp_path: Path, environ: dict[str, str], away: bool
) -> None:
    """In every pipeline, and while the LLM is away."""
    fake.answer(lambda body: chat.kind_of(body) == "other", '{"memory": [{"id": "0", "text": "User lives somewhere"}]}')
    given = {**fake.environ(), "STORE": "embedded", **environ}
    with fake.failing("chat", Fault.throttled(3600)) if away else contextlib.nullcontext():
        lines = watched(given, tmp_path)
    port = fake.base_url.split(":")[2].split("/")[0]
    sockets = [name for kind, name in lines if kind == "sockets"]
    files = [name for kind, name in lines if kind == "files"]
    assert sockets
    assert (["away", ""] in lines) == (away and not environ)
    assert [s for s in sockets if port not in s and s != "lookup 127.0.0.1"] == []
    assert [f for f in files if not f.startswith((str(tmp_path / "tmp"), "/dev/"))] == []
    assert list((tmp_path / "home").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def watched(settings: dict[str, str], tmp_path: Path) -> list[list[str]]:
    """What WATCHER saw, as pairs of a kind and a name."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    environ = {"PYTHONPATH": ":".join(p for p in sys.path if p), "HOME": str(home), "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, *(f"{k}={v}" for k, v in settings.items())],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [[*line.split(" ", 1), ""][:2] for line in done.stdout.splitlines()]
