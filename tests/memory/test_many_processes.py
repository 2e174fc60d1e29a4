"""Processes that write one scope at once: every fact once, none lost, corrections one after the other."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.service_process import ServiceProcess
from support.store import Rows, environ
from tablestore_openmemory_mcp.scope import Scope

CHARACTERS = "春夏秋冬天地山水风云花鸟鱼虫金木火土"  # every pair of them is a hobby of its own


def facts(count: int) -> list[str]:
    pairs = [a + b for a in CHARACTERS for b in CHARACTERS]
    return [f"我收集{pair}邮票" for pair in pairs[:count]]


@contextmanager
def services(fake: FakeOpenAI, emulator: Emulator, scope: Scope, count: int) -> Iterator[list[ServiceProcess]]:
    """All of them imported and ready, none connected to the store yet."""
    variables = environ(emulator, MEMORY_PIPELINE="", ADD_TIMEOUT="600", **fake.environ())
    variables["TABLESTORE_VECTOR_DIMENSION"] = "64"
    with ExitStack() as stack:
        made = [ServiceProcess(variables, scope) for _ in range(count)]
        yield [stack.enter_context(service) for service in made]


@pytest.mark.parametrize(("processes", "count"), [(2, 40), pytest.param(16, 200, marks=pytest.mark.slow)])
def test_the_same_facts_from_many_processes(fake: FakeOpenAI, processes: int, count: int) -> None:
    fake.answer(lambda body: "new retrieved facts" in json.dumps(body), json.dumps({"memory": []}))
    said = facts(count)
    texts = ["。".join(said[i : i + 20]) for i in range(0, count, 20)]
    scope = Scope("张三", "cline")
    with Emulator() as emulator, services(fake, emulator, scope, processes) as workers:
        for worker in workers:
            for text in texts:
                worker.send("add", text=text)
        results = [worker.answer()["results"] for worker in workers for _ in texts]
        stored = workers[0].call("list")["memories"]
        Rows(emulator, scope).audit()
    assert sorted(memory["text"] for memory in stored) == sorted(fact.removeprefix("我") for fact in said)
    assert sorted(outcome["id"] for result in results for outcome in result) == sorted(m["id"] for m in stored)


def test_two_processes_correct_one_memory(fake: FakeOpenAI) -> None:
    """Both decide on the same state; whoever loses the race asks again, and corrects the other's correction."""
    scope = Scope("张三", "cline")
    with Emulator() as emulator, services(fake, emulator, scope, 2) as (one, two):
        [added] = one.call("add", text="我住在上海")["results"]
        two.call("list")
        for attempt in range(3):
            fake.forget()
            cities = [f"北京{attempt}区", f"广州{attempt}区"]
            with fake.holding("chat"):
                for service, city in zip((one, two), cities, strict=True):
                    service.send("add", text=f"我现在住在{city}")
                fake.wait_for("extraction", 2)
            outcomes = [service.answer()["results"] for service in (one, two)]
            assert [(o["event"], o["id"]) for [o] in outcomes] == [("UPDATE", added["id"])] * 2
            assert fake.count("extraction") == 2
            assert fake.count("update") <= 2 + 2  # each once, and at most twice more for whoever lost
            [memory] = one.call("list")["memories"]
            assert memory == two.call("list")["memories"][0]
            lineage = one.call("history", memory_id=added["id"])
            assert [entry["event"] for entry in lineage] == ["ADD"] + ["UPDATE"] * 2 * (attempt + 1)
            assert all(a["new_text"] == b["old_text"] for a, b in pairwise(lineage))
            assert lineage[-1]["new_text"] == memory["text"]
            assert sum(any(city in e["new_text"] for city in cities) for e in lineage) == 2
        Rows(emulator, scope).audit()
