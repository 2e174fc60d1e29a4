"""A writer for Writer (store.py): one JSON task as argument; prints a JSON line per step and per acknowledged work.

Work: {"do": "add", "texts": [...]}, {"do": "update", "id", "text"}, {"do": "delete", "id"}, {"do": "delete_all"};
with "rebase": true, an add is tried again on top of whatever got in between. {"do": "together", "texts": [...]}: a
thread for each text, the first of which does not commit before the others have planned; each is acknowledged.
"""

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.store import adding, deleting, updating
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.client.connection import CloudConnector
from tablestore_openmemory_mcp.store.model import Change, Conflict, ScopeStore, Snapshot
from tablestore_openmemory_mcp.store.store import TablestoreStore


def main(task: dict[str, Any]) -> None:
    """Do `task`."""
    seen: Counter[str] = Counter()
    together: list[Together] = []

    def step(name: str) -> None:
        seen[name] += 1
        if together and name == "committing" and seen[name] == 1:
            together[0].planned()
        say(step=name)
        number = task["at"].get(f"{name} {seen[name]}")
        if number:
            os.kill(os.getpid(), number)

    settings = Settings.load(task["environ"])
    store = TablestoreStore(settings, CloudConnector(settings), step=step).scope(Scope(*task["scope"]))
    for work in task["work"]:
        if work["do"] == "together":
            together[:] = [Together(store, work["texts"])]
            together[0].run()
        else:
            say(answer=do(store, work))


class Together:
    """Writers on threads of one process."""

    def __init__(self, store: ScopeStore, texts: Sequence[str]) -> None:
        self._store = store
        self._texts = texts
        self._planning = threading.Semaphore(0)

    def run(self) -> None:
        with ThreadPoolExecutor(len(self._texts)) as pool:
            list(pool.map(self._write, self._texts))

    def planned(self) -> None:
        """Returns once every writer has planned, and has had time to join."""
        for _ in self._texts:
            self._planning.acquire(timeout=10)
        time.sleep(0.1)

    def _write(self, text: str) -> None:
        changes, first = adding(text), [True]

        def plan(base: Snapshot) -> Sequence[Change]:
            if first:
                first.clear()
                self._planning.release()
            return changes

        self._store.write(plan, deadline=time.monotonic() + 60)
        say(answer=text)


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
    sys.stdout.write(json.dumps(line) + "\n")  # in one piece: threads speak at once
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
