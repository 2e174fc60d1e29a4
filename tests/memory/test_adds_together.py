"""Adds of one process to one scope at once: the LLM decides on what the others have ready, and is asked no oftener."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.store import Rows, environ
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.store import TablestoreStore

SECONDS = 60.0


class Gate:
    """Stops the first commit until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def step(self, name: str) -> None:
        if name == "committing":
            self.reached.set()
            assert self.open.wait(SECONDS)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def opened(emulator: Emulator, prefix: str, gate: Gate | None = None) -> TablestoreStore:
    variables = {**environ(emulator), "TABLESTORE_TABLE_NAME": prefix, "TABLESTORE_VECTOR_DIMENSION": "256"}
    settings = Settings.load(variables)
    return TablestoreStore(settings, CloudConnector(settings), step=gate.step if gate else None)


def test_what_was_decided_on_a_staged_memory_holds_once_it_is_committed(
    make: Callable[..., MemoryService], fake: FakeOpenAI, emulator: Emulator, prefix: str, pool: ThreadPoolExecutor
) -> None:
    gate = Gate()
    store = opened(emulator, prefix, gate)
    scope = Scope("张三", "cline")
    one, two, three = make(store, MEMORY_PIPELINE="verbatim"), make(store), make(store, OPENAI_API_KEY="")
    first = pool.submit(one.add, scope, "我住在上海")
    assert gate.reached.wait(SECONDS)

    def interrupted(body: object) -> bool:
        """While the LLM decides, what it decides about is committed, and somebody else adds something."""
        if "new retrieved facts" in json.dumps(body) and not gate.open.is_set():
            gate.open.set()
            first.result(SECONDS)
            three.add(scope, "build runs on Jenkins")
        return False

    fake.answer(interrupted, "")
    [corrected] = two.add(scope, "我现在住在北京").results
    assert (corrected.event, corrected.id) == ("UPDATE", first.result(SECONDS).results[0].id)
    assert fake.count("update") == 1
    assert two.list(scope).total == 2
    Rows(emulator, scope, prefix).audit()


def test_sixteen_at_once_each_get_their_own_answer(
    make: Callable[..., MemoryService], fake: FakeOpenAI, emulator: Emulator, prefix: str, pool: ThreadPoolExecutor
) -> None:
    scope = Scope("张三", "cline")
    service = make(opened(emulator, prefix), MEMORY_PIPELINE="verbatim")
    said = [f"我收集第{n}枚邮票" for n in range(48)]
    results = list(pool.map(lambda text: service.add(scope, text), said))
    assert [[o.memory for o in result.results] for result in results] == [[text] for text in said]
    again = list(pool.map(lambda text: service.add(scope, text), said))
    assert all(not result.results and result.message for result in again)
    assert {m.text for m in service.list(scope).memories} == set(said)
    Rows(emulator, scope, prefix).audit()
