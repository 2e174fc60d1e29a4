"""What a model wrote, understood. Models fence, chat, think aloud, quote singly, trail commas and stop half-way."""

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from ..validation import repaired_text
from . import lenient_json

Event = Literal["ADD", "UPDATE", "DELETE", "NONE"]

# What an event begins with, in the words of models that were asked for four others.
_EVENTS: dict[str, Event] = {
    **dict.fromkeys(("ADD", "INSERT", "CREATE", "NEW", "新增", "添加", "增加", "插入", "创建", "追加"), "ADD"),
    **dict.fromkeys(("UPDATE", "MERGE", "MODIFY", "REPLACE", "CHANGE"), "UPDATE"),
    **dict.fromkeys(("更新", "修改", "合并", "替换", "覆盖"), "UPDATE"),
    **dict.fromkeys(("DELETE", "REMOVE", "FORGET", "DROP", "删除", "刪除", "移除", "忘记", "削除"), "DELETE"),
    **dict.fromkeys(("NO", "UNCHANGED", "KEEP", "SKIP", "IGNORE", "无", "無", "不", "保留", "保持", "忽略"), "NONE"),
}
_THINKING = r"(?:\w+:)?(?:think|thinking|thoughts?|reasoning|analysis|reflection)"
_THOUGHT_ENDS = re.compile(rf"</{_THINKING}>|◁/think▷|<\|channel\|>final\s*<\|message\|>", re.IGNORECASE)
_THOUGHT_BEGINS = re.compile(rf"\s*(?:<{_THINKING}>|◁think▷|<\|channel\|>analysis)", re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_BRACKET = re.compile(r"[{}\[\]]")
_DEBRIS = re.compile(r"[\"'”’]\s*[\]}]+$|^[\[{]\s*[\"'“‘]")  # of the JSON around a text
_ESCAPED = re.compile(r"\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})")
_NUMBERED = re.compile(r"(?:facts?|memory|item|事实)?[\s_#-]*\d+", re.IGNORECASE)
_ALIAS = re.compile(r"[^\d-]*(\d+)(?:\.0)?\D*")  # "#0", "id: 0", "[0]", 0.0

_LINKS = ("fact", "facts", "fact_number", "fact_id")  # keys under which an entry names its facts
_LINK = re.compile(r"(?:fact|事实)?[\s_#-]*(\d{1,3})(?:\.0)?", re.IGNORECASE)
_MOST_LINKS = 50

_LONGEST = 1_000_000  # characters
_DEEPEST = 40  # brackets in brackets; the right answer has three
_STARTS, _FENCED = 500, 8  # places from which JSON is looked for in vain; fences that are looked into
_LISTS = ("facts", "fact", "memory", "memories")
_TEXTS = ("text", "new_memory", "fact", "memory", "content", "value", "data", "statement", "description")


class Unparseable(Exception):
    """`str(e)` tells the model what was wrong with its answer."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One entry of the update prompt's answer, as the model wrote it. `id` is its alias, true or not; `facts` the
    numbers of the new facts that it says it is about."""

    id: str | None
    text: str
    event: Event
    old_text: str | None = None
    facts: tuple[int, ...] = ()


def facts_in(answer: str) -> list[str]:
    """The facts of an extraction's answer, in order, each once. Raises Unparseable."""
    return list(dict.fromkeys(all_facts_in(answer)))


def all_facts_in(answer: str) -> list[str]:
    """As `facts_in`, but one that is said twice is there twice."""
    facts = (repaired_text(t) for t in _texts_of(_list_in(answer, "facts")))
    return [sound(fact) for fact in facts if fact]


def sound(text: str, given: str | None = None) -> str:
    """`text`, if no damage shows: remains of JSON around it, or characters and escapes lost that `given`, from which
    it was made, does not have. Raises Unparseable."""
    if _DEBRIS.search(text) and any(text.count(o) != text.count(c) for o, c in ("[]", "{}")):
        raise Unparseable("a text in it holds remains of JSON")
    if given is not None:
        if "\ufffd" in text and "\ufffd" not in given:
            raise Unparseable("a text in it holds a character that was lost")
        if _ESCAPED.search(text) and not _ESCAPED.search(given):
            raise Unparseable("a text in it holds an escape sequence")
    return text


def decisions_in(answer: str) -> list[Decision]:
    """The decisions of an update prompt's answer, in order. Raises Unparseable."""
    entries = [_opened(entry) for entry in _list_in(answer, "memory")]
    decisions = [d for entry in entries if isinstance(entry, dict) and (d := _decision(entry))]
    if entries and not decisions:
        raise Unparseable('no entry of "memory" has an "event" of ADD, UPDATE, DELETE or NONE')
    return decisions


def entries_in(answer: str, given: str | None = None) -> list[dict[str, str]]:
    """The new memories of an answer to Mem0's additive prompt: objects with a "text". `given`: see `sound`. Raises
    Unparseable."""
    texts = (repaired_text(t) for t in _texts_of(_list_in(answer, "memory")))
    return [{"text": sound(text, given)} for text in dict.fromkeys(texts) if text]


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
    if len(answer) > _LONGEST:
        raise Unparseable("it is far too long")
    if _deepest(answer) > _DEEPEST:
        raise Unparseable("it is nested too deeply")
    try:
        for runs, read in _readings(_without_thoughts(answer)):
            found = [items for run in runs if (items := _joined(run, read, key)) is not None]
            if found:
                return next(filter(None, reversed(found)), [])  # after a draft comes the answer
    except lenient_json.Damaged as e:
        raise Unparseable(str(e)) from None
    raise Unparseable(
        f'the answer holds no JSON object with the key "{key}"' if answer.strip() else "the answer is empty"
    )


def _deepest(answer: str) -> int:
    steps = (1 if c in "{[" else -1 for c in answer if c in "{[]}")
    return max(accumulate(steps), default=0)


def _without_thoughts(answer: str) -> str:
    """What follows the last thought; all of it if nothing does. Some chat templates leave the opening tag out."""
    answer = answer.strip().lstrip("\ufeff")
    if _is_json(answer):  # a memory may be about such tags
        return answer
    ends = [m.end() for m in _THOUGHT_ENDS.finditer(answer)]
    if ends:
        return answer[ends[-1] :].strip() or answer
    unended = _THOUGHT_BEGINS.match(answer) and not answer.endswith(("}", "]", "```"))
    return "" if unended else answer


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True


def _readings(text: str) -> Iterator[tuple[list[list[Any]], Callable[[Any, str], list[Any] | None]]]:
    """JSON values in `text`, and how to look at them, best guess first: the strictly valid, then the repaired."""
    runs = _runs(text)
    yield runs, _keyed
    repaired = [[value] for value in _repaired(text)]
    yield repaired, _keyed
    yield runs or repaired, _bare


def _runs(text: str) -> list[list[Any]]:
    """The valid values that are inside no other bracket; those with nothing between them, such as lines, together."""
    decoder = json.JSONDecoder(strict=False)
    runs: list[list[Any]] = []
    at = end = depth = failures = 0
    while failures < _STARTS and (bracket := _BRACKET.search(text, at)):
        at = bracket.end()
        if bracket[0] in "}]":
            depth = max(0, depth - 1)
            continue
        try:
            value, at = decoder.raw_decode(text, bracket.start())
        except ValueError:
            depth += 1
            failures += 1
            continue
        if depth:
            continue
        if runs and not text[end : bracket.start()].strip(" \t\r\n,;"):
            runs[-1].append(value)
        else:
            runs.append([value])
        end = at
    return runs


def _repaired(text: str) -> Iterator[Any]:
    """The values that can be read leniently: of what is fenced, else of all. Raises Damaged for those of the last."""
    fenced = [m.strip() for m in _FENCE.findall(text)][-_FENCED:]
    *drafts, last = [part for part in fenced if _BRACKET.search(part)] or [text]
    for draft in drafts:
        with contextlib.suppress(lenient_json.Damaged):
            yield from list(lenient_json.values(draft))
    yield from lenient_json.values(last)


def _joined(run: list[Any], read: Callable[[Any, str], list[Any] | None], key: str) -> list[Any] | None:
    found = [items for value in run if (items := read(value, key)) is not None]
    return [item for items in found for item in items] if found else None


def _keyed(value: Any, key: str) -> list[Any] | None:
    """The list under `key`, or a name that models use instead, however it is wrapped; None if there is none."""
    value = _opened(value)
    if isinstance(value, list):
        each = [_keyed(v, key) if isinstance(v, dict | list) else None for v in value]
        return [item for items in each if items for item in items] if each and None not in each else None
    if not isinstance(value, dict) or _is_entry(value):
        return None
    lower = _lower(value)
    for name in (key, *_LISTS):
        if name in lower:
            return _items(lower[name], key)
    return next((found for v in value.values() if (found := _keyed(v, key)) is not None), None)


def _items(value: Any, key: str) -> list[Any]:
    value = _opened(value)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return [value]
    if (within := _keyed(value, key)) is not None:
        return within
    if _is_entry(value) or any(t in value for t in _TEXTS):
        return [value]
    return [v if isinstance(v, dict | list) or _NUMBERED.fullmatch(str(k)) else {k: v} for k, v in value.items()]


def _bare(value: Any, key: str) -> list[Any] | None:
    """A list without its key: `value` itself, the only one in it, or an entry alone."""
    if isinstance(value, list):
        return value if not value or isinstance(value[0], dict | (str if key == "facts" else dict)) else None
    if not isinstance(value, dict):
        return None
    if _is_entry(value):
        return [value] if key == "memory" else None
    within = [v for v in value.values() if isinstance(v, dict | list)]
    return _bare(within[0], key) if len(within) == 1 else None


def _is_entry(value: dict[Any, Any]) -> bool:
    return not {"event", "action", "operation"}.isdisjoint(_lower(value))


def _opened(value: Any) -> Any:
    """`value`, or what it is the JSON of."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return json.loads(value, strict=False)
        except ValueError:
            return value
    return value


def _texts_of(items: Iterable[Any]) -> Iterator[str]:
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            named = _named_text(item)
            yield ", ".join(f"{k}: {v}" for k, v in item.items() if v is not None) if named is None else named
        elif isinstance(item, list):
            yield from _texts_of(item)
        elif item is not None:
            yield str(item)


def _named_text(item: dict[Any, Any]) -> str | None:
    lower = _lower(item)
    named = next((lower[k] for k in _TEXTS if lower.get(k)), None)
    return None if named is None else next(_texts_of([named]), "")


def _lower(item: dict[Any, Any]) -> dict[str, Any]:
    return {str(k).strip().lower(): v for k, v in item.items()}


def _decision(entry: dict[str, Any]) -> Decision | None:
    lower = _lower(entry)
    event = _event(lower.get("event", lower.get("action", lower.get("operation", ""))))
    if event is None:
        return None
    old = lower.get("old_memory")
    links = {k: numbers for k in _LINKS if k in lower and (numbers := _numbers(lower[k]))}
    return Decision(
        id=_alias(lower.get("id")),
        text=sound(repaired_text(_named_text({k: v for k, v in lower.items() if k not in links}) or "")),
        event=event,
        old_text=repaired_text(old) if isinstance(old, str) else None,
        facts=next(iter(links.values()), ()),
    )


def _numbers(said: Any) -> tuple[int, ...]:
    """Numbers of facts: one, a list, or such as "fact 2"; none if `said` is a text."""
    each = said if isinstance(said, list) else str(said).split(",") if isinstance(said, str) else [said]
    found = [
        int(m[1]) for e in each[:_MOST_LINKS] if not isinstance(e, bool) and (m := _LINK.fullmatch(str(e).strip()))
    ]
    return tuple(dict.fromkeys(found)) if len(found) == len(each) else ()


def _alias(said: Any) -> str | None:
    if isinstance(said, dict):
        said = said.get("id")
    if said is None:
        return None
    alias = str(said).strip()
    number = _ALIAS.fullmatch(alias)
    return number[1] if number else alias


def _event(said: Any) -> Event | None:
    word = re.sub(r"[\W_]", "", str(said)).upper()
    for known in sorted(_EVENTS, key=len, reverse=True):
        if word.startswith(known):
            return _EVENTS[known]
    begun: set[Event] = {event for event in ("ADD", "UPDATE", "DELETE", "NONE") if word and event.startswith(word)}
    return begun.pop() if begun else None  # cut off inside the last entry's event
