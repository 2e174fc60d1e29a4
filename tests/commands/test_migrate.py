"""`migrate`: rows of release 1.x, whole ones and odd ones, taken over once and again."""

import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.release_1x import PACIFIC, OldTable, ms
from support.store import DIMENSION, Rows, environ, open_environ
from tablestore_openmemory_mcp import cli
from tablestore_openmemory_mcp.memory.commit_retry import write
from tablestore_openmemory_mcp.memory.models.embedder import Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.model import Change, Memory

_numbers = itertools.count()


class Move:
    """An old table of its own on the emulator, and `migrate` over it, in this process."""

    def __init__(self, emulator: Emulator, llm: FakeOpenAI, capsys: pytest.CaptureFixture[str]) -> None:
        self.emulator = emulator
        prefix = f"move{next(_numbers)}"
        self.environ = {**environ(emulator, **llm.environ()), "TABLESTORE_TABLE_NAME": prefix}
        self.old = OldTable(emulator, prefix)
        self.prefix = prefix
        self._llm = llm
        self._embedder = Embedder(Endpoint("sk-fake", llm.base_url), "text-embedding-v4", DIMENSION)
        self._capsys = capsys

    def run(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """(status, stdout, stderr)."""
        with pytest.raises(SystemExit) as ended:
            cli.main(["migrate", *arguments], {**self.environ, **variables})
        out, err = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    def report(self, *arguments: str, **variables: str) -> dict[str, Any]:
        status, out, err = self.run("--json", *arguments, **variables)
        assert status in (0, 1), err
        report: dict[str, Any] = json.loads(out)
        assert status == bool(report["left_out"] or report["maps_without_rows"])
        return report

    def memories(self, user: str = "alice", client: str = "cline") -> dict[str, Memory]:
        """What the scope holds, by id, read by a process of its own."""
        store = open_environ(self.environ)
        return dict(store.scope(Scope(user, client)).snapshot().memories)

    def vector(self, text: str) -> list[float]:
        """As the present model makes it."""
        made = self._embedder.embed([text], deadline=time.monotonic() + 60)
        self._llm.forget()
        return [float(x) for x in made[0]]

    def commit(self, change: Callable[[Memory], Change], id: str) -> None:
        store = open_environ(self.environ).scope(Scope("alice", "cline"))
        base = store.snapshot()
        store.commit([change(base.memories[id])], base=base)

    def audit(self, user: str = "alice", client: str = "cline") -> None:
        Rows(self.emulator, Scope(user, client), self.prefix).audit()


@pytest.fixture
def move(emulator: Emulator, llm: FakeOpenAI, capsys: pytest.CaptureFixture[str]) -> Iterator[Move]:
    made = Move(emulator, llm, capsys)
    yield made
    emulator.clear_faults()
    made.old.drop()


def scope_of(report: dict[str, Any], user: str = "alice", client: str = "cline") -> dict[str, Any]:
    (found,) = [s for s in report["scopes"] if (s["user_id"], s["client_name"]) == (user, client)]
    return dict(found)


def test_nothing_there(move: Move, emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert move.run()[:2] == (0, f"Table {move.prefix} of release 1.x: 0 memories.\nThere is nothing to take over.\n")
    status, _, err = move.run("--from", "elsewhere")
    assert status == 2
    assert "elsewhere" in err
    status, _, err = move.run("--from", f"{move.prefix}_heads")  # a table, but not of release 1.x
    assert status == 2


def test_a_memory_keeps_its_id_its_times_and_what_was_noted(move: Move, llm: FakeOpenAI) -> None:
    created, updated = (
        datetime(2026, 3, 1, 12, 0, 0, 123456, PACIFIC),
        datetime(2026, 7, 1, tzinfo=UTC).astimezone(PACIFIC),
    )
    text = "喜欢吃辣的东西"
    id_ = move.old.put(text, created=created, updated=updated, vector=move.vector(text), more={"role": "user"})
    plain = move.old.put("现在住在上海", client="Cherry Studio 🍒", vector=move.vector("现在住在上海"))
    before = move.old.rows()
    dry = move.report()
    assert move.memories() == {}
    assert (dry["applied"], scope_of(dry)["brought"], scope_of(dry, client="Cherry Studio 🍒")["brought"]) == (
        False,
        1,
        1,
    )
    done = move.report("--yes")
    assert {**done, "applied": False} == dry
    memory = move.memories()[id_]
    assert (memory.text, memory.created_at, memory.updated_at) == (text, ms(created), ms(updated))
    assert memory.metadata == {"role": "user"}
    assert memory.vector is not None
    assert np.allclose(memory.vector, move.vector(text), atol=1e-6)
    assert memory.vector_model == "text-embedding-v4"
    assert move.memories(client="Cherry Studio 🍒").keys() == {plain}
    assert move.old.rows() == before
    move.audit()


def test_a_second_run_changes_nothing(move: Move, llm: FakeOpenAI, emulator: Emulator) -> None:
    for i in range(30):
        move.old.put(f"fact {i}", vector=move.vector(f"fact {i}"))
    move.report("--yes")
    before = Rows(emulator, Scope("alice", "cline"), move.prefix)
    was = before.memories(), before.history(), before.head()
    again = move.report("--yes")
    assert (scope_of(again)["brought"], scope_of(again)["taken_over_before"]) == (0, 30)
    assert (before.memories(), before.history(), before.head()) == was


def test_vectors_of_another_model_are_made_anew(move: Move, llm: FakeOpenAI) -> None:
    texts = [f"fact {i}" for i in range(5)]
    for n, text in enumerate(texts):
        move.old.put(text, vector=np.random.default_rng(n).normal(size=DIMENSION).tolist())
    report = move.report("--yes")
    assert (report["vectors"]["reused"], report["vectors"]["embedded"]) == (0, 5)
    assert "anew" in report["vectors"]["decision"]
    for memory in move.memories().values():
        assert memory.vector is not None
        assert np.allclose(memory.vector, move.vector(memory.text), atol=1e-6)


def test_agreeing_vectors_cost_one_sample(move: Move, llm: FakeOpenAI) -> None:
    for i in range(100):
        move.old.put(f"fact {i}", vector=move.vector(f"fact {i}"))
    report = move.report("--yes")
    assert (report["vectors"]["reused"], report["vectors"]["embedded"]) == (100, 0)
    assert llm.count("embeddings") == 2  # 20 texts, ten each
    llm.forget()
    move.report("--yes", "--re-embed", "--again")
    assert llm.count("embeddings") == 0  # all are there


def test_re_embed(move: Move, llm: FakeOpenAI) -> None:
    move.old.put("fact", vector=move.vector("fact"))
    report = move.report("--yes", "--re-embed")
    assert (report["vectors"]["reused"], report["vectors"]["embedded"]) == (0, 1)
    assert [r.inputs for r in llm.requests] == [["fact"]]


def test_without_an_embedder_vectors_wait(move: Move) -> None:
    id_ = move.old.put("fact", vector=[1.0] * DIMENSION)
    report = move.report("--yes", OPENAI_API_KEY="", OPENAI_BASE_URL="", EMBEDDER="none")
    assert "no embedder" in report["vectors"]["decision"]
    assert move.memories()[id_].vector is None
    assert move.memories()[id_].vector_model is None


def test_names_that_break_the_rules_are_listed_and_mapped(move: Move) -> None:
    move.old.put("one", user="a/b")
    move.old.put("two", user="\ud800")
    move.old.put("three", user="x" * 300)
    move.old.put("four", user="")
    move.old.put("five", client="tab\there")
    move.old.put("six", user="e\u0301")  # not NFC: another name for é
    report = move.report("--yes")
    assert len(report["left_out"]) == 5
    assert {r["what"].split()[0] for r in report["left_out"]} == {"user_id", "client_name"}
    assert [m.text for m in move.memories("é").values()] == ["six"]
    status, out, _ = move.run()
    assert status == 1
    assert "tab\\u0009here" in out
    mapped = move.report("--yes", "--map", "a/b/cline=alice/cline", "--map", "/cline=bob/cline", "--map", "no/body=x/y")
    assert (len(mapped["left_out"]), mapped["maps_without_rows"]) == (3, ["no/body"])
    assert [m.text for m in move.memories().values()] == ["one"]
    assert [m.text for m in move.memories("bob").values()] == ["four"]


def test_everybody_of_function_compute_is_given_away(move: Move) -> None:
    shared = "stdio_default_user", "stdio_default_client"
    move.old.put("one", *shared)
    _, out, _ = move.run()
    assert "--map stdio_default_user/stdio_default_client=" in out
    report = move.report("--yes", "--map", "stdio_default_user/stdio_default_client=alice/cline")
    assert scope_of(report)["from"] == ["stdio_default_user/stdio_default_client"]
    assert [m.text for m in move.memories().values()] == ["one"]
    assert move.memories(*shared) == {}


@pytest.mark.parametrize("wrong", ["alice", "a=b", "a/b=c", "a/b=c/d/e", "a/b=/d"])
def test_a_map_that_is_none(move: Move, wrong: str) -> None:
    assert move.run("--map", wrong)[0] == 2


def test_one_user_alone(move: Move) -> None:
    move.old.put("one")
    move.old.put("two", user="bob")
    assert move.report("--yes", "--user", "bob")["rows"] == 1
    assert move.memories() == {}
    assert [m.text for m in move.memories("bob").values()] == ["two"]


def test_odd_rows_are_brought_or_listed(move: Move, llm: FakeOpenAI) -> None:
    good = move.vector("good")
    move.old.put("good", vector=good)
    left = {
        move.old.put(None, vector=good): "no text",
        move.old.put("  \n", vector=good): "no text",
        move.old.put(
            "my key is AKIAIOSFODNN7EXAMPLE and wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", vector=good
        ): "seems",
        move.old.put("whose", columns={"payload": None, "payload_source": None}): "payload_source cannot be read",
        move.old.put("broken", columns={"payload": "[", "payload_source": "{"}): "payload_source cannot be read",
        move.old.put("large" * 400_000): "too large",
    }
    odd = {
        move.old.put("no vector"): "no vector",
        move.old.put("bad vector", vector="[1, 2"): "a vector that cannot be read",
        move.old.put("no number", vector='["a"]'): "a vector that cannot be read",
        move.old.put("not a number", vector=json.dumps([float("nan")] * DIMENSION)): "a vector that cannot be read",
        move.old.put("zero", vector=[0.0] * DIMENSION): "a vector that cannot be read",
        move.old.put("short", vector=[1.0, 2.0]): "a vector of 2 numbers",
        move.old.put("no time", created=None): "no time",
        move.old.put("bad time", created="yesterday"): "created_at cannot be read",
        move.old.put("from the list", columns={"payload_source": "{"}): "payload was read in its place",
        move.old.put("a NUL\0 and space \n", vector=good): "its text was cleaned",
    }
    report = move.report("--yes")
    assert {r["id"]: r["what"] for r in report["left_out"]}.keys() == left.keys()
    for id_, why in left.items():
        assert why in next(r["what"] for r in report["left_out"] if r["id"] == id_)
    said = {id_: [r["what"] for r in report["remarks"] if r["id"] == id_] for id_ in odd}
    for id_, why in odd.items():
        assert any(why in what for what in said[id_]), (why, said[id_])
    memories = move.memories()
    assert memories.keys() >= odd.keys()
    assert not memories.keys() & left.keys()
    assert all(m.vector is not None for m in memories.values())
    assert scope_of(report)["brought"] == len(odd) + 1
    assert "AKIA" not in json.dumps(report)
    allowed = move.report("--yes", ALLOW_CREDENTIALS="true")
    assert len(allowed["left_out"]) == len(left) - 1
    move.audit()


def test_odd_metadata_is_kept(move: Move) -> None:
    more = {"tags": ["a", {"b": None}], "surrogate": "x\ud800y", "number": float("nan"), "source_app": "another"}
    id_ = move.old.put("fact", more=more)
    move.report("--yes")
    kept = {"tags": ["a", {"b": None}], "surrogate": "xy", "number": None, "source_app": "another"}
    assert move.memories()[id_].metadata == kept


def test_twins_become_one(move: Move) -> None:
    for _ in range(3):
        move.old.put("the same")
    move.old.put("the  same", client="other")
    move.old.put("other", tenant="t2", id="shared")
    move.old.put("another", id="shared")
    report = move.report("--yes")
    assert (scope_of(report)["brought"], scope_of(report)["says_the_same_as_another"]) == (3, 2)
    texts = [m.text for m in move.memories().values()]
    assert sorted(texts) == ["another", "other", "the same"]
    assert move.memories()["shared"].text == "another"
    (kept,) = [m.id for m in move.memories().values() if m.text == "the same"]
    move.commit(lambda m: Change("DELETE", m.id, None, old_text=m.text), kept)
    again = move.report("--yes")
    assert scope_of(again)["brought"] == 0  # its twins do not take its place
    assert sorted(m.text for m in move.memories().values()) == ["another", "other"]


def test_a_full_memory(move: Move) -> None:
    for i in range(5):
        move.old.put(f"fact {i}")
    report = move.report("--yes", MAX_MEMORIES="3")
    assert (scope_of(report)["brought"], scope_of(report)["left_out"]) == (3, 2)
    assert "MAX_MEMORIES" in report["left_out"][0]["what"]
    assert len(move.memories()) == 3
    assert scope_of(move.report("--yes"))["brought"] == 2
    assert len(move.memories()) == 5


def test_what_the_old_release_writes_meanwhile(move: Move) -> None:
    changed = move.old.put("lives in Rome")
    both = move.old.put("drinks tea")
    gone = move.old.put("has a cat")
    kept = move.old.put("likes blue")
    move.report("--yes")
    move.old.put("lives in Oslo", id=changed, updated=datetime(2026, 8, 1, tzinfo=UTC))
    move.old.put("drinks coffee", id=both, updated=datetime(2026, 8, 1, tzinfo=UTC))
    move.old.delete(gone)
    new = move.old.put("plays chess")
    move.commit(
        lambda m: Change("UPDATE", m.id, Memory(m.id, "drinks water", m.created_at, m.updated_at), old_text=m.text),
        both,
    )
    report = move.report("--yes")
    found = scope_of(report)
    assert (found["brought"], found["updated"], found["taken_over_before"], found["left_out"]) == (1, 1, 1, 1)
    assert found["no_longer_in_the_old_table"] == 1
    assert [r["id"] for r in report["left_out"]] == [both]
    texts = {id_: m.text for id_, m in move.memories().items()}
    expected = {
        changed: "lives in Oslo",
        both: "drinks water",
        gone: "has a cat",
        kept: "likes blue",
        new: "plays chess",
    }
    assert texts == expected
    move.audit()


def test_what_was_deleted_here_does_not_come_back(move: Move) -> None:
    deleted = move.old.put("deleted")
    move.old.put("emptied")
    move.old.put("other client", client="other")
    move.report("--yes")
    move.commit(lambda m: Change("DELETE", m.id, None, old_text=m.text), deleted)
    move.old.put("deleted, and then changed", id=deleted)
    assert scope_of(move.report("--yes"))["deleted_here_since"] == 1
    open_environ(move.environ).scope(Scope("alice", "cline")).delete_all()
    later = move.old.put("later")
    report = move.report("--yes")
    assert (scope_of(report)["deleted_here_since"], scope_of(report)["brought"]) == (2, 1)
    assert move.memories().keys() == {later}
    again = move.report("--yes", "--again")
    assert scope_of(again)["brought"] == 2
    assert len(move.memories()) == 3
    move.audit()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("survives", [False, True])
@pytest.mark.parametrize("between", ["nothing", "deleted", "emptied"])
def test_killed_between_the_record_and_the_commit(
    move: Move, monkeypatch: pytest.MonkeyPatch, survives: bool, between: str
) -> None:
    """The commit did or did not stand; what is deleted before the next run stays deleted."""
    ids = [move.old.put(f"fact {i}") for i in range(3)]

    def killed(*arguments: Any) -> Any:
        if survives:
            write(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("tablestore_openmemory_mcp.commands.migrate.takeover.write", killed)
        with pytest.raises(Killed):
            cli.main(["migrate", "--yes"], move.environ)
    assert len(move.memories()) == (3 if survives else 0)
    store = open_environ(move.environ).scope(Scope("alice", "cline"))
    if between == "deleted" and survives:
        base = store.snapshot()
        store.commit([Change("DELETE", i, None, old_text=base.memories[i].text) for i in ids], base=base)
    if between == "emptied":
        store.delete_all()
    report = scope_of(move.report("--yes"))
    stays_away = survives and between != "nothing"
    assert (report["brought"], report["deleted_here_since"]) == (
        0 if survives else 3,
        3 if stays_away else 0,
    )
    assert len(move.memories()) == (0 if stays_away else 3)
    assert scope_of(move.report("--yes"))["brought"] == 0
    move.audit()


@pytest.mark.parametrize("api", ["GetRange", "UpdateRow", "PutRow", "BatchWriteRow"])
def test_the_store_fails_half_way(move: Move, emulator: Emulator, api: str) -> None:
    """A second run finishes; nothing is there twice."""
    for i in range(450):
        move.old.put(f"fact {i}", user=f"user {i % 3}")
    emulator.fault(apis=api, error="OTSNoPermissionAccess", skip=2)
    status, _, err = move.run("--yes")
    emulator.clear_faults()
    assert status in (0, 2)  # rows of a commit that stands may be written later
    assert "Traceback" not in err
    for i in range(3):
        move.old.put("one more", user=f"user {i}")  # so that each scope has a next writer
    report = move.report("--yes")
    for n in range(3):
        assert scope_of(report, f"user {n}")["deleted_here_since"] == 0
        assert len(move.memories(f"user {n}")) == 151
        move.audit(f"user {n}")


def test_the_embedder_fails_half_way(move: Move, llm: FakeOpenAI) -> None:
    llm.model.refused_texts = frozenset({"fact 3"})
    for i in range(5):
        move.old.put(f"fact {i}")
    report = move.report("--yes")
    assert scope_of(report)["brought"] == 5
    bare = [m for m in move.memories().values() if m.vector is None]
    assert [m.text for m in bare] == ["fact 3"]


def odd_cells() -> st.SearchStrategy[dict[str, Any]]:
    text = st.text(max_size=20)
    junk = st.one_of(text, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.binary(max_size=20).map(bytearray))
    values = st.recursive(
        st.none() | st.booleans() | st.floats() | text, lambda v: st.lists(v) | st.dictionaries(text, v)
    )
    payload = st.dictionaries(st.sampled_from(["user_id", "mcp_client", "created_at", "updated_at", "x"]), values)
    cell = st.one_of(junk, values.map(json.dumps), payload.map(json.dumps))
    return st.dictionaries(st.sampled_from(["text", "embedding", "payload", "payload_source"]), cell, min_size=1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(odd_cells(), min_size=1, max_size=5))
def test_no_row_is_lost_silently(move: Move, rows: list[dict[str, Any]]) -> None:
    """Whatever a row holds, it has exactly one fate, or a line among those left out."""
    for cells in rows:
        try:
            move.old.put(None, id=str(uuid.uuid4()), columns={"embedding": None, **cells})
        except UnicodeEncodeError:
            continue  # nor could release 1.x
    report = move.report("--yes")
    fates = ("brought", "updated", "taken_over_before", "says_the_same_as_another", "deleted_here_since")
    told = sum(s[fate] for s in report["scopes"] for fate in fates)
    assert told + len(report["left_out"]) == report["rows"] == len(move.old.rows())


def test_the_embedder_of_the_service_makes_the_vectors(move: Move) -> None:
    """EMBEDDER counts here as everywhere: with none, no endpoint is asked though there is a key."""
    id_ = move.old.put("fact", vector=[1.0] * DIMENSION)
    report = move.report("--yes", EMBEDDER="none")
    assert "no embedder" in report["vectors"]["decision"]
    assert move.memories()[id_].vector_model is None


def test_the_local_embedder_makes_the_vectors(move: Move) -> None:
    id_ = move.old.put("fact", vector=[1.0] * DIMENSION)
    report = move.report("--yes", EMBEDDER="local", TABLESTORE_VECTOR_DIMENSION="")
    assert report["left_out"] == []
    taken = move.memories()[id_]
    assert taken.vector_model == "local/universal-sentence-encoder-multilingual-v3"
    assert taken.vector is None or len(taken.vector) == 512
