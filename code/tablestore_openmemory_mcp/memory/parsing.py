"""What a model wrote, understood. Models fence, chat, think aloud, quote singly, trail commas and stop half-way."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, Literal

import json_repair

from .text import repaired_text

Event = Literal["ADD", "UPDATE", "DELETE", "NONE"]

_EVENTS: dict[str, Event] = {
    **dict.fromkeys(("ADD", "INSERT", "CREATE", "NEW", "新增", "添加"), "ADD"),
    **dict.fromkeys(("UPDATE", "MERGE", "MODIFY", "REPLACE", "CHANGE", "更新", "修改"), "UPDATE"),
    **dict.fromkeys(("DELETE", "REMOVE", "FORGET", "DROP", "删除"), "DELETE"),
    **dict.fromkeys(("NONE", "NOOP", "NOCHANGE", "UNCHANGED", "KEEP", "SKIP", "IGNORE", "无", "不变"), "NONE"),
}
_FENCE = re.compile(r"```[\w-]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_DEEPEST = 40  # brackets in brackets; the right answer has three
_STARTS, _REPAIRED = 50, 8  # opening brackets from which JSON is looked for, strictly and by repair
_LISTS = ("facts", "fact", "memory", "memories", "results", "result", "data", "items", "output")
_TEXTS = ("text", "fact", "memory", "content", "value", "data")


class Unparseable(Exception):
    """`str(e)` tells the model what was wrong with its answer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of the update prompt's answer, as the model wrote it. `id` is its alias, true or not."""

    id: str | None
    text: str
    event: Event
    old_text: str | None = None


def facts_in(answer: str) -> list[str]:
    """The facts of an extraction's answer, in order, each once. Raises Unparseable."""
    facts = (repaired_text(t) for t in _texts_of(_list_in(answer, "facts")))
    return list(dict.fromkeys(fact for fact in facts if fact))


def decisions_in(answer: str) -> list[Decision]:
    """The decisions of an update prompt's answer, in order. Raises Unparseable."""
    entries = _list_in(answer, "memory")
    decisions = [d for entry in entries if isinstance(entry, dict) and (d := _decision(entry))]
    if entries and not decisions:
        raise Unparseable('no entry of "memory" has an "event" of ADD, UPDATE, DELETE or NONE')
    return decisions


def entries_in(answer: str) -> list[dict[str, str]]:
    """The new memories of an answer to Mem0's additive prompt: objects with a "text". Raises Unparseable."""
    texts = (repaired_text(t) for t in _texts_of(_list_in(answer, "memory")))
    return [{"text": text} for text in dict.fromkeys(texts) if text]


def cut_at(answer: str) -> Literal["inside", "between"] | None:
    """Where `answer` stops before its JSON is closed: inside a string, between two, or (None) not at all."""
    depth, quoted, escaped = 0, False, False
    for c in _without_thoughts(answer):
        if quoted:
            quoted = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c in "{[":
            depth += 1
        elif c in "}]":
            depth -= 1
        elif c == '"' and depth > 0:
            quoted = True
    if quoted:
        return "inside"
    return "between" if depth > 0 else None


def _list_in(answer: str, key: str) -> list[Any]:
    if _deepest(answer) > _DEEPEST:
        raise Unparseable("it is nested too deeply")
    alone: list[Any] | None = None
    for value in _values_in(answer):
        found = _as_list(value, key)
        if found is not None:
            if not _is_entry(value):
                return found
            alone = alone or found  # unless it is one of a list that has yet to be repaired
    if alone:
        return alone
    raise Unparseable(
        f'the answer holds no JSON object with the key "{key}"' if answer.strip() else "the answer is empty"
    )


def _deepest(answer: str) -> int:
    steps = (1 if c in "{[" else -1 for c in answer if c in "{[]}")
    return max(accumulate(steps), default=0)


def _values_in(answer: str) -> Iterator[Any]:
    """JSON values that the answer may mean, best guess first: the strictly valid, then the repaired."""
    text = _without_thoughts(answer)
    fenced = [m.strip() for m in _FENCE.findall(text)]
    starts = [m.start() for m in islice(re.finditer(r"[{\[]", text), _STARTS)]
    candidates = [text, *reversed(fenced)]
    for candidate in candidates:
        try:
            yield json.loads(candidate, strict=False)
        except ValueError:
            continue
    decoder = json.JSONDecoder(strict=False)
    for start in starts:
        try:
            yield decoder.raw_decode(text, start)[0]
        except ValueError:
            continue
    for candidate in [*fenced, *(text[start:] for start in starts[:_REPAIRED])]:
        yield json_repair.loads(candidate)


def _without_thoughts(answer: str) -> str:
    """The answer after the last </think>; some chat templates leave the opening tag out."""
    return answer.rpartition("</think>")[2].strip().lstrip("\ufeff")


def _as_list(value: Any, key: str) -> list[Any] | None:
    """The list under `key`, or under a name that models use instead; None if `value` is nothing of the kind."""
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], dict) and isinstance(value[0].get(key), list):
            return list(value[0][key])
        return value if not value or isinstance(value[0], dict | (str if key == "facts" else dict)) else None
    if not isinstance(value, dict):
        return None
    lower = {str(k).strip().lower(): v for k, v in value.items()}
    if _is_entry(value):
        return [value] if key == "memory" else None
    for name in (key, *_LISTS):
        if name in lower:
            return _wrapped(lower[name])
    return None


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and any(str(k).strip().lower() == "event" for k in value)


def _wrapped(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [value] if "event" in value or any(t in value for t in _TEXTS) else list(value.values())
    return value if isinstance(value, list) else [value]


def _texts_of(items: Iterable[Any]) -> Iterator[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            named = next((item[k] for k in _TEXTS if isinstance(item.get(k), str)), None)
            yield named if named is not None else next((v for v in item.values() if isinstance(v, str)), "")
        elif isinstance(item, list):
            yield from _texts_of(item)
        elif item is not None:
            yield str(item)


def _decision(entry: dict[str, Any]) -> Decision | None:
    lower = {str(k).strip().lower(): v for k, v in entry.items()}
    event = _event(lower.get("event", lower.get("action", lower.get("operation", ""))))
    if event is None:
        return None
    alias, old = lower.get("id"), lower.get("old_memory")
    return Decision(
        id=None if alias is None else str(alias).strip(),
        text=repaired_text(next((str(lower[k]) for k in _TEXTS if lower.get(k)), "")),
        event=event,
        old_text=repaired_text(old) if isinstance(old, str) else None,
    )


def _event(said: Any) -> Event | None:
    word = re.sub(r"[\W_]", "", str(said)).upper()
    if word in _EVENTS:
        return _EVENTS[word]
    begun: set[Event] = {event for event in ("ADD", "UPDATE", "DELETE", "NONE") if word and event.startswith(word)}
    return begun.pop() if begun else None  # cut off inside the last entry's event
