"""Results stay within MAX_RESULT_SIZE, whatever they hold, and tell what they leave out."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tablestore_openmemory_mcp.memory.model import AddResult, Hit, Outcome, Page
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.tools import results
from tablestore_openmemory_mcp.store.model import HistoryEntry, Memory

SCOPE = Scope("张" * 85, "🙂" * 64)
MOST = 10_000
SHORT = "喜欢吃辣"
LONG = {"latin": "x" * 40_000, "chinese": "记" * 40_000, "escaped": '"\\\n' * 20_000, "emoji": "🚀" * 20_000}
TEXTS = [SHORT, *LONG.values(), SHORT]


def memories(texts: Sequence[str]) -> list[Memory]:
    return [Memory(f"{n:036}", text, n, n) for n, text in enumerate(texts)]


def bounded(text: str) -> str:
    assert len(text.encode()) <= MOST
    return text


@pytest.mark.parametrize("long", LONG.values(), ids=LONG.keys())
def test_one_memory_larger_than_a_result_is_shown_in_part(long: str) -> None:
    (memory,) = memories([long])
    whole = json.loads(results.one(memory, SCOPE, max_bytes=1_000_000))
    part = json.loads(bounded(results.one(memory, SCOPE, max_bytes=MOST)))
    assert "truncated" not in whole
    assert part.pop("truncated") is True
    assert long.startswith(part["memory"])
    assert len(part["memory"]) > 500
    assert {**part, "memory": long} == whole


def test_a_list_gets_past_memories_larger_than_a_result() -> None:
    stored = memories(TEXTS)

    def fetch(cursor: str | None, limit: int) -> Page:
        begin = int(cursor or 0)
        more = str(begin + limit) if begin + limit < len(stored) else None
        return Page(stored[begin : begin + limit], len(stored), more)

    seen, cursor = [], None
    while True:
        items = json.loads(bounded(results.listed(fetch, cursor, SCOPE, max_bytes=MOST)))
        cursor = items.pop()["cursor"] if "cursor" in items[-1] else None
        assert items
        seen += items
        if cursor is None:
            break
    assert [item["id"] for item in seen] == [memory.id for memory in stored]
    assert [item.get("truncated", False) for item in seen] == [text != SHORT for text in TEXTS]


def test_a_list_fills_its_results() -> None:
    stored = memories([SHORT * 20] * 1_000)

    def fetch(cursor: str | None, limit: int) -> Page:
        begin = int(cursor or 0)
        return Page(stored[begin : begin + limit], len(stored), str(begin + limit))

    items = json.loads(text := bounded(results.listed(fetch, None, SCOPE, max_bytes=MOST)))
    (size, *_) = {len(results.compact(item).encode()) for item in items[:-1]}
    assert len(text.encode()) > MOST - size - 500
    assert items[-1]["cursor"] == str(len(items) - 1)
    assert items[-1]["message"].startswith(f"{len(items) - 1} of 1000 memories")


def test_a_list_encodes_each_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the page that did not fit is asked for again, for its cursor; and nothing of what is not shown but one."""
    stored = memories([SHORT * 20] * 1_000)
    encoded = []

    def noted(memory: Memory, scope: Scope, *, encode: Any = results._memory) -> Any:
        encoded.append(memory.id)
        return encode(memory, scope)

    monkeypatch.setattr(results, "_memory", noted)

    def fetch(cursor: str | None, limit: int) -> Page:
        begin = int(cursor or 0)
        return Page(stored[begin : begin + limit], len(stored), str(begin + limit))

    items = json.loads(results.listed(fetch, None, SCOPE, max_bytes=MOST))
    assert len(items) > 5
    assert encoded == [m.id for m in stored[: len(items)]]


def test_a_search_shows_what_fits_the_best_first() -> None:
    hits = [Hit(memory, 0.5) for memory in memories([LONG["chinese"], SHORT])]
    best, *_ = json.loads(bounded(results.found(hits, SCOPE, max_bytes=MOST)))
    assert (best["score"], best["truncated"]) == (0.5, True)
    assert len(json.loads(bounded(results.found(hits[::-1], SCOPE, max_bytes=MOST)))) == 1


def test_the_latest_history_is_shown_even_if_it_is_long() -> None:
    entries = [
        HistoryEntry("id", 1, "ADD", None, SHORT, 0, None, "cline"),
        HistoryEntry("id", 2, "UPDATE", LONG["chinese"], LONG["latin"], 0, "superseded", "cline"),
    ]
    *_, latest = json.loads(bounded(results.lineage(entries, max_bytes=MOST)))
    assert (latest["event"], latest["truncated"]) == ("UPDATE", True)
    assert latest["old_memory"]
    assert latest["new_memory"]


def test_what_is_related_is_told_as_far_as_there_is_room() -> None:
    """Never at the cost of what was done, and never cut: an assistant would write it back shortened."""
    done = [Outcome("id", SHORT, "ADD")]
    related = [
        Hit(memory, score) for memory, score in zip(memories(["辣" * 900] * 5), [0.9, 0.8, None, 0.7, 0.6], strict=True)
    ]
    whole = json.loads(results.added(AddResult(done, related=related), max_bytes=1_000_000))
    assert whole["results"] == [{"id": "id", "memory": SHORT, "event": "ADD"}]
    assert [item.get("score") for item in whole["related"]] == [0.9, 0.8, None, 0.7, 0.6]
    assert whole["related"][0] == {"id": f"{0:036}", "memory": "辣" * 900, "score": 0.9}
    part = json.loads(bounded(results.added(AddResult(done, "A message.", related), max_bytes=MOST)))
    assert (part["results"], part["message"]) == (whole["results"], "A message.")
    assert 2 <= len(part["related"]) < 5
    assert part["related"] == whole["related"][: len(part["related"])]
    long = [Outcome("id", LONG["latin"], "ADD")]
    beside = json.loads(bounded(results.added(AddResult(long, related=related), max_bytes=MOST)))
    assert beside["results"] == json.loads(results.added(AddResult(long), max_bytes=MOST))["results"]
    assert json.loads(results.added(AddResult(done), max_bytes=MOST)) == {"results": whole["results"]}


def test_what_was_done_is_told_even_if_not_all_of_it_can_be_shown() -> None:
    done = [Outcome(f"{n:036}", SHORT, "DELETE") for n in range(10_000)]
    shown = json.loads(bounded(results.outcomes(done, max_bytes=MOST)))
    assert shown["message"] == f"All 10000 changes were made; the first {len(shown['results'])} are shown."
    rewritten = [Outcome("id", LONG["latin"], "UPDATE", LONG["chinese"])]
    added = json.loads(bounded(results.added(AddResult(rewritten, "The LLM stopped."), max_bytes=MOST)))
    assert added["message"] == "The LLM stopped."
    assert added["results"][0]["truncated"] is True
    assert json.loads(results.added(AddResult(done[:1]), max_bytes=MOST)) == {
        "results": [{"id": done[0].id, "memory": SHORT, "event": "DELETE"}]
    }
