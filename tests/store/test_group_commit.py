"""Threads of one process that write one scope: few requests, and to each its own result, error and deadline."""

import copy
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.emulator import Emulator
from support.store import (
    Rows,
    Writer,
    adding,
    deleting,
    environ,
    fresh_scope,
    memory,
    open_store,
    remember,
    texts,
    updating,
)
from tablestore_openmemory_mcp.errors import Busy, InvalidInput, LimitExceeded, StoreError, StoreUnavailable
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.commit.redo_record import MAX_BYTES
from tablestore_openmemory_mcp.store.model import Change, ScopeStore, Snapshot
from tablestore_openmemory_mcp.store.store import TablestoreStore

Plan = Callable[[Snapshot], Sequence[Change]]
SECONDS = 60.0
OF_THE_FIRST = 2  # UpdateRow calls of the commit that is held: it stands, and its redo record is cleared


def soon() -> float:
    return time.monotonic() + SECONDS


def unless_known(text: str) -> Plan:
    """Adds `text`, as a verbatim add would: once."""
    changes = adding(text)
    return lambda base: [] if any(m.text == text for m in base.memories.values()) else changes


class Process:
    """The threads of one process, whose commits stop while `held`."""

    def __init__(self, emulator: Emulator, scope: Scope, **more: str) -> None:
        self._go = threading.Event()
        self._go.set()
        self._reached = threading.Event()
        self.commits = 0
        self._sent = 0
        made = Settings.load(environ(emulator, **more))
        self._store = TablestoreStore(made, CloudConnector(made), step=self._step)
        self.scope = scope
        self.pool = ThreadPoolExecutor(32)

    def store(self) -> ScopeStore:
        return self._store.scope(self.scope)

    def send(self, plan: Plan, *, deadline: float | None = None) -> "Future[Snapshot]":
        """A writer; it has planned, and joined or is about to, when this returns."""
        planned = threading.Event()

        def noted(base: Snapshot) -> Sequence[Change]:
            try:
                return plan(base)
            finally:
                planned.set()

        self._sent += 1
        sent = self.pool.submit(lambda: self.store().write(noted, deadline=deadline or soon()))
        assert planned.wait(SECONDS)
        return sent

    @contextmanager
    def held(self, *, seconds: float = SECONDS) -> Iterator[None]:
        """One commit is under way, of "first", until the block ends. It is given up after `seconds`."""
        self._reached.clear()
        self._go.clear()
        self._sent = 0
        try:
            first = self.send(unless_known("first"), deadline=time.monotonic() + seconds)
            assert self._reached.wait(SECONDS)
            yield
            self._wait_for_all()
        finally:
            self._go.set()
        first.exception(SECONDS)

    def _wait_for_all(self) -> None:
        """Whoever planned joins; those who have nothing to write, or are refused, are given two seconds."""
        queue, until = self._store._built()._queues.of(self.scope), time.monotonic() + 2
        while time.monotonic() < until and sum(len(group.members) for group in queue.queued) < self._sent:
            time.sleep(0.01)

    def _step(self, name: str) -> None:
        if name == "committing":
            self.commits += 1
            self._reached.set()
            assert self._go.wait(SECONDS)


@pytest.fixture
def scope() -> Scope:
    return fresh_scope()


@pytest.fixture
def process(emulator: Emulator, scope: Scope) -> Iterator[Process]:
    made = Process(emulator, scope)
    yield made
    made.pool.shutdown()


def spent(emulator: Emulator, before: Counter[str]) -> Counter[str]:
    return Counter(emulator.calls()) - before


def test_what_waits_travels_together(emulator: Emulator, process: Process, scope: Scope) -> None:
    remember(process.store(), "old")
    before = Counter(emulator.calls())
    with process.held():
        sent = [process.send(unless_known(f"{n}")) for n in range(15)]
    after = [each.result(SECONDS) for each in sent]
    assert spent(emulator, before) == {"GetRow": 1, "UpdateRow": 4, "BatchWriteRow": 2}  # 7 of 16 x 4
    assert process.commits == 1 + 2
    assert {snapshot.seq for snapshot in after} == {3}
    assert sorted(texts(process.store())) == sorted(["old", "first", *map(str, range(15))])
    assert sorted(texts(open_store(emulator).scope(scope))) == sorted(texts(process.store()))
    Rows(emulator, scope).audit()


def test_one_alone_costs_what_it_did(emulator: Emulator, process: Process) -> None:
    remember(process.store(), "old")
    before = Counter(emulator.calls())
    process.store().write(unless_known("new"), deadline=soon())
    assert spent(emulator, before) == {"GetRow": 1, "UpdateRow": 2, "BatchWriteRow": 1}
    before = Counter(emulator.calls())
    process.store().write(unless_known("new"), deadline=soon())
    assert spent(emulator, before) == {"GetRow": 1}


def test_the_same_text_from_all_is_stored_once(emulator: Emulator, process: Process, scope: Scope) -> None:
    with process.held():
        sent = [process.send(unless_known("same")) for _ in range(12)]
    for each in sent:
        assert [m.text for m in each.result(SECONDS).memories.values()] == ["first", "same"]
    assert len(Rows(emulator, scope).history()) == 2
    Rows(emulator, scope).audit()


def test_changes_of_one_memory_follow_each_other(emulator: Emulator, process: Process, scope: Scope) -> None:
    """Each is planned on what the one before it left, without a round trip, and each has a line of its own."""
    [old] = remember(process.store(), "0")

    def one_more(base: Snapshot) -> Sequence[Change]:
        now = base.memories[old.id]
        return [updating(now, f"{int(now.text) + 1}")]

    before = Counter(emulator.calls())
    with process.held():
        sent = [process.send(one_more) for _ in range(6)]
    for each in sent:
        each.result(SECONDS)
    made = spent(emulator, before)
    assert 1 <= made.pop("GetRow") <= 6, "a writer reads the head if another was faster to join"
    assert made == {"UpdateRow": 14, "BatchWriteRow": 7}
    assert sorted(texts(process.store())) == ["6", "first"]
    lineage = process.store().history(old.id)
    assert [entry.new_text for entry in lineage] == [str(n) for n in range(7)]
    assert all(a.new_text == b.old_text for a, b in pairwise(lineage))
    Rows(emulator, scope).audit()


def test_one_that_is_refused_fails_alone(emulator: Emulator, scope: Scope) -> None:
    process = Process(emulator, scope, MAX_MEMORIES="5")

    def refused(base: Snapshot) -> Sequence[Change]:
        raise InvalidInput("no")

    too_long = adding("x" * (2 * 1024 * 1024 + 1))
    with process.held():
        good = [process.send(unless_known(f"{n}")) for n in range(2)]
        bad = [
            process.send(plan) for plan in (refused, lambda base: too_long, lambda base: adding(*map(str, range(9))))
        ]
        more = [process.send(unless_known(f"{n}")) for n in range(2, 4)]
        full = process.send(unless_known("one too many"))
    for each, error in zip(bad, (InvalidInput, LimitExceeded, LimitExceeded), strict=True):
        with pytest.raises(error):
            each.result(SECONDS)
    with pytest.raises(LimitExceeded, match="full"):
        full.result(SECONDS)
    for each in (*good, *more):
        assert len(each.result(SECONDS).memories) > 1
    assert sorted(texts(process.store())) == ["0", "1", "2", "3", "first"]
    Rows(emulator, scope).audit()


def test_too_much_for_one_commit_is_split(emulator: Emulator, process: Process, scope: Scope) -> None:
    """Each fits into a redo record by itself, two do not."""
    size = int(0.6 * MAX_BYTES)
    with process.held():
        sent = [process.send(unless_known(f"{n}" * size)) for n in range(3)]
    for each in sent:
        each.result(SECONDS)
    assert process.commits == 1 + 3
    assert sorted(len(text) for text in texts(process.store())) == [5, size, size, size]
    Rows(emulator, scope).audit()


def test_what_only_tablestore_refuses_fails_alone(emulator: Emulator, process: Process, scope: Scope) -> None:
    """A group that is refused is sent again, one by one; whoever is refused then is told."""
    with process.held():
        sent = [process.send(unless_known(f"{n}")) for n in range(4)]
        emulator.fault(apis="UpdateRow", error="OTSParameterInvalid", message="no", skip=OF_THE_FIRST, times=2)
    errors = [each.exception(SECONDS) for each in sent]
    assert sorted(map(type, errors), key=str) == [type(None)] * 3 + [StoreError]
    assert len(texts(process.store())) == 1 + 3
    Rows(emulator, scope).audit()


def test_another_process_was_first(emulator: Emulator, process: Process, scope: Scope) -> None:
    """All of the group plan anew on what it left; what it wrote meanwhile is not added again."""
    process.store().snapshot()
    with process.held():
        sent = [process.send(unless_known(f"{n}")) for n in range(6)]
        remember(open_store(emulator).scope(scope), "3", "theirs")
    for each in sent:
        each.result(SECONDS)
    assert sorted(texts(process.store())) == ["0", "1", "2", "3", "4", "5", "first", "theirs"]
    Rows(emulator, scope).audit()


def test_an_error_that_speaks_of_what_never_came_is_not_raised(emulator: Emulator, process: Process) -> None:
    """One deletes what another has staged a deletion of; that one is then overtaken by another process's correction."""
    [old] = remember(process.store(), "old")

    def delete(base: Snapshot) -> Sequence[Change]:
        if old.id not in base.memories:
            raise InvalidInput("no such memory")
        return [deleting(base.memories[old.id])]

    def delete_if_old(base: Snapshot) -> Sequence[Change]:
        now = base.memories.get(old.id)
        return [deleting(now)] if now and now.text == "old" else []

    with process.held():
        first = process.send(delete_if_old)
        second = process.send(delete)
        other = open_store(emulator).scope(process.scope)
        base = other.snapshot()
        other.commit([updating(base.memories[old.id], "corrected")], base=base)
    assert old.id in first.result(SECONDS).memories or old.id not in second.result(SECONDS).memories
    second.result(SECONDS)
    assert texts(process.store()) == ["first"]
    Rows(emulator, process.scope).audit()


def test_nothing_to_do_is_told_of_the_newest_state(emulator: Emulator, process: Process) -> None:
    """What another process has deleted is added again, although this process still believes that it is there."""
    [old] = remember(process.store(), "here")
    with process.held():
        other = open_store(emulator).scope(process.scope)
        other.commit([deleting(other.snapshot().memories[old.id])], base=other.snapshot())
        sent = process.send(unless_known("here"))
    assert "here" in [m.text for m in sent.result(SECONDS).memories.values()]
    assert sorted(texts(process.store())) == ["first", "here"]


def test_each_has_a_deadline_of_its_own(emulator: Emulator, process: Process, scope: Scope) -> None:
    with process.held():
        late = process.send(unless_known("late"), deadline=time.monotonic() + 0.3)
        patient = [process.send(unless_known(f"{n}")) for n in range(3)]
        with pytest.raises(Busy, match="nothing was stored"):
            late.result(SECONDS)
    for each in patient:
        each.result(SECONDS)
    assert sorted(texts(process.store())) == ["0", "1", "2", "first"]
    Rows(emulator, scope).audit()


def test_tablestore_goes_away_and_comes_back(emulator: Emulator, process: Process, scope: Scope) -> None:
    """All are told; what is written is whole; the queue works again."""
    remember(process.store(), "old")
    with process.held(seconds=3):
        sent = [process.send(unless_known(f"{n}"), deadline=time.monotonic() + 2) for n in range(5)]
        emulator.set_faults(rules=[{"apis": ["UpdateRow", "GetRow"], "drop": True, "when": "before"}])
    for each in sent:
        assert isinstance(each.exception(SECONDS), StoreUnavailable | Busy)
    emulator.clear_faults()
    process.store().write(unless_known("back"), deadline=soon())
    assert texts(process.store()) == ["old", "back"]
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_answer_of_a_group(emulator: Emulator, process: Process, scope: Scope, when: str) -> None:
    remember(process.store(), "old")
    with process.held():
        sent = [process.send(unless_known(f"{n}")) for n in range(5)]
        emulator.fault(apis="UpdateRow", drop=True, when=when, skip=OF_THE_FIRST, times=1)
    for each in sent:
        each.result(SECONDS)
    assert process.commits == 2 + 1
    assert sorted(texts(process.store())) == ["0", "1", "2", "3", "4", "first", "old"]
    assert len(Rows(emulator, scope).history()) == 7
    Rows(emulator, scope).audit()


def test_a_scope_that_is_emptied_meanwhile(emulator: Emulator, process: Process, scope: Scope) -> None:
    remember(process.store(), "old")
    with process.held():
        sent = [process.send(unless_known(f"{n}")) for n in range(4)]
        assert open_store(emulator).scope(scope).delete_all() == 1
    for each in sent:
        each.result(SECONDS)
    assert sorted(texts(process.store())) == ["0", "1", "2", "3", "first"]
    Rows(emulator, scope).audit()


KILLED = [(step, n) for step in ("committing", "committed", "applying", "applied", "cleared") for n in (1, 2)]


@pytest.mark.parametrize("at", KILLED)
def test_killed_with_a_group_on_its_way(emulator: Emulator, scope: Scope, at: tuple[str, int]) -> None:
    """Twelve writers are a first commit of one and a second of eleven, which stands as a whole or not at all."""
    store = open_store(emulator).scope(scope)
    remember(store, "old")
    said = [f"{n}" for n in range(12)]
    with Writer(emulator, scope, [{"do": "together", "texts": said}], at=[(*at, signal.SIGKILL)]) as writer:
        acknowledged, steps, status = writer.result()
    assert (status, steps[-1]) == (-9, at[0])
    stored = texts(store)
    assert texts(open_store(emulator).scope(scope)) == stored
    assert len(stored) == 1 + {0: 0, 1: 1, 2: 12}[steps.count("committed")]
    assert set(acknowledged) <= set(stored)
    remember(open_store(emulator).scope(scope), "next")
    assert texts(store) == [*stored, "next"]
    assert len(Rows(emulator, scope).history()) == len(stored) + 1
    Rows(emulator, scope).audit()


@pytest.mark.parametrize("step", ["committing", "committed", "applying", "applied"])
@pytest.mark.parametrize("meanwhile", ["an add", "delete_all"])
def test_thawed_with_a_group_on_its_way(emulator: Emulator, scope: Scope, step: str, meanwhile: str) -> None:
    remember(open_store(emulator).scope(scope), "old")
    said = [f"{n}" for n in range(12)]
    with Writer(emulator, scope, [{"do": "together", "texts": said}], at=[(step, 2, signal.SIGSTOP)]) as writer:
        writer.wait_until_stopped()
        other = open_store(emulator).scope(scope)
        before = set(texts(other))
        if meanwhile == "an add":
            remember(other, "theirs")
        else:
            assert other.delete_all() == len(before)
        writer.thaw()
        acknowledged, _, status = writer.result()
    assert (sorted(acknowledged), status) == (sorted(said), 0)
    left = {"old", "theirs", *said} if meanwhile == "an add" else set(said) - before
    assert set(texts(other)) == left
    remember(other, "next")
    Rows(emulator, scope).audit()


PLANS = st.lists(
    st.lists(st.tuples(st.sampled_from(["add", "update", "delete"]), st.integers(0, 5)), min_size=1, max_size=4),
    min_size=2,
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLANS, PLANS)
def test_any_writers_of_two_processes(
    emulator: Emulator, ours: list[list[tuple[str, int]]], theirs: list[list[tuple[str, int]]]
) -> None:
    """Whatever they do at once: every acknowledged change is a line of history, in one order, and the rows add up."""
    scope = fresh_scope()
    done: Counter[str] = Counter()
    lock = threading.Lock()

    def work(store: ScopeStore, steps: list[tuple[str, int]]) -> None:
        for event, n in steps:
            seen: list[Change] = []

            def plan(base: Snapshot, event: str = event, n: int = n, seen: list[Change] = seen) -> Sequence[Change]:
                old = next((m for m in base.memories.values() if m.text.startswith(f"{n} ")), None)
                if event == "add":
                    new = memory(f"{n} {time.monotonic_ns()}")
                    seen[:] = [] if old else [Change("ADD", new.id, new)]
                elif old:
                    seen[:] = [updating(old, f"{n} {time.monotonic_ns()}") if event == "update" else deleting(old)]
                else:
                    seen[:] = []
                return copy.copy(seen)

            store.write(plan, deadline=soon())
            with lock:
                done.update(change.event for change in seen)

    two = open_store(emulator), open_store(emulator)
    with ThreadPoolExecutor(16) as pool:
        sent = [pool.submit(work, two[0].scope(scope), steps) for steps in ours]
        sent += [pool.submit(work, two[1].scope(scope), steps) for steps in theirs]
        for each in sent:
            each.result(SECONDS)
    rows = Rows(emulator, scope)
    rows.audit()
    history = rows.history()
    assert Counter(line["event"] for line in history.values()) == done
    for of in {of for of, _ in history}:
        lineage = [line for (id_, _), line in sorted(history.items()) if id_ == of]
        assert all(a.get("new_text") == b.get("old_text") for a, b in pairwise(lineage))
    assert (
        len({m.text.split()[0] for m in two[0].scope(scope).snapshot().memories.values()})
        == done["ADD"] - done["DELETE"]
    )
