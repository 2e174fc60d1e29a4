"""Processes that add the same facts to one scope at once leave each fact once, and lose none."""

import json
import subprocess
import sys

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI

WORKER = """
import json, sys
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore
settings = Settings.load(json.loads(sys.argv[1]))
store = TablestoreStore.open(settings)
service = MemoryService.from_settings(settings, store)
scope = Scope("u", "c")
import openai, tablestore, tablestore_openmemory_mcp.memory.mem0_engine  # so that all begin at the same moment
print("ready", flush=True)
for line in sys.stdin:
    try:
        result = service.add(scope, json.loads(line))
        print(len(result.results), flush=True)
    except Exception as e:
        print(f"{type(e).__name__}: {e}", flush=True)
store.close()
"""
CHARACTERS = "春夏秋冬天地山水风云花鸟鱼虫金木火土"  # every pair of them is a hobby of its own


def facts(count: int) -> list[str]:
    pairs = [a + b for a in CHARACTERS for b in CHARACTERS]
    return [f"我收集{pair}邮票" for pair in pairs[:count]]


@pytest.mark.parametrize(("processes", "count"), [(2, 40), pytest.param(16, 200, marks=pytest.mark.slow)])
def test_the_same_facts_from_many_processes(fake: FakeOpenAI, emulator: Emulator, processes: int, count: int) -> None:
    environ = {
        **fake.environ(),
        "TABLESTORE_ENDPOINT": emulator.endpoint,
        "TABLESTORE_INSTANCE_NAME": emulator.instance,
        "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
        "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
        "TABLESTORE_TABLE_NAME": f"many{processes}",
        "TABLESTORE_VECTOR_DIMENSION": "64",
        "ADD_TIMEOUT": "600",
    }
    fake.answer(lambda body: "new retrieved facts" in json.dumps(body), json.dumps({"memory": []}))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(environ)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
            text=True,
        )
        for _ in range(processes)
    ]
    said = facts(count)
    texts = ["。".join(said[i : i + 20]) for i in range(0, count, 20)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(lines)
        worker.stdin.close()
    added = [line for worker in workers for line in worker.stdout.read().splitlines()]  # type: ignore[union-attr]
    for worker in workers:
        assert worker.wait(60) == 0
    assert [line for line in added if not line.isdigit()] == []
    assert sum(map(int, added)) == count
