"""A writer for Writer (store.py): one JSON task as argument; prints a JSON line per step and per acknowledged work.

Work: {"do": "add", "texts": [...]}, {"do": "update", "id", "text"}, {"do": "delete", "id"}, {"do": "delete_all"};
with "rebase": true, an add is tried again on top of whatever got in between.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.store import adding, deleting, updating
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.model import Conflict, ScopeStore
from tablestore_openmemory_mcp.store.store import TablestoreStore


def main(task: dict[str, Any]) -> None:
    """Do `task`."""
    seen: Counter[str] = Counter()

    def step(name: str) -> None:
        seen[name] += 1
        say(step=name)
        number = task["at"].get(f"{name} {seen[name]}")
        if number:
            os.kill(os.getpid(), number)

    settings = Settings.load(task["environ"])
    store = TablestoreStore(settings, CloudConnector(settings), step=step).scope(Scope(*task["scope"]))
    for work in task["work"]:
        say(answer=do(store, work))


def do(store: ScopeStore, work: dict[str, Any]) -> Any:
    """One piece of work; what is acknowledged."""
    if work["do"] == "delete_all":
        return store.delete_all()
    base = store.snapshot()
    if work["do"] == "add":
        changes = adding(*work["texts"])
    elif work["do"] == "update":
        changes = [updating(base.memories[work["id"]], work["text"])]
    else:
        changes = [deleting(base.memories[work["id"]])]
    while True:
        try:
            return store.commit(changes, base=base).seq
        except Conflict as conflict:
            if not work.get("rebase"):
                return {"conflict": None if conflict.changed is None else sorted(conflict.changed)}
            base = conflict.latest


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
