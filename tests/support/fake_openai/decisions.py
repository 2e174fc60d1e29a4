"""The update prompt, answered by rule: which old memory a new fact confirms, corrects or removes."""

import ast
import json
import re
from typing import Any

from . import lexicon
from .vectors import similarity

SAME, RELATED = 0.93, 0.78  # cosine above which texts say the same, or speak of the same thing

# A request to forget is not remembered; that something has ended is, if no memory says that it goes on.
_FORGET = re.compile(
    r"^请?(忘掉|忘了|忘记(我|关于)|[不别](要|用)?再记|(删除|删掉)(我|关于|有关|这条|那条))|"
    r"^(please )?forget\b|\bwants? (you )?to forget\b|^(please )?(delete|remove|erase) (my|what|everything)\b",
    re.IGNORECASE,
)
_ENDED = re.compile(r"^不再|已经不|\bno longer\b|^stopped\b", re.IGNORECASE)
_OLD = re.compile(r"current content of my memory.*?```(.*?)```", re.DOTALL)
_NEW = re.compile(r"new retrieved facts are mentioned in the triple backticks.*?```(.*?)```", re.DOTALL)


def decide(prompt: str) -> list[dict[str, str]]:
    """The "memory" list that Mem0's update prompt asks for: every shown memory with its event, then the additions."""
    old = _literal(_OLD, prompt)
    new = [str(fact) for fact in _literal(_NEW, prompt)]
    entries = [{"id": str(m["id"]), "text": str(m["text"]), "event": "NONE"} for m in old]
    added: list[dict[str, str]] = []
    for fact in new:
        _apply(fact, entries, added)
    return entries + added


def _apply(fact: str, entries: list[dict[str, str]], added: list[dict[str, str]]) -> None:
    target = about_the_same(fact, [e for e in entries if e["event"] == "NONE"])
    if target and _ends_something(fact):
        target["event"] = "DELETE"
    elif target and not says_the_same(fact, target["text"]):
        target.update(text=_rewritten(fact), event="UPDATE", old_memory=target["text"])
    elif target is None and not _FORGET.search(fact) and not any(a["text"] == fact for a in added):
        added.append({"id": str(len(entries) + len(added)), "text": fact, "event": "ADD"})


def _ends_something(fact: str) -> bool:
    return bool(_FORGET.search(fact) or _ENDED.search(fact))


def about_the_same(fact: str, entries: list[dict[str, str]]) -> dict[str, str] | None:
    """The one of `entries` that `fact` is about, if any."""
    asked = lexicon.question(fact)
    ranked = sorted(entries, key=lambda e: similarity(fact, e["text"]), reverse=True)
    for entry in ranked:
        if asked and lexicon.question(entry["text"]) == asked:
            return entry
    if not ranked or _numbers(fact) != _numbers(ranked[0]["text"]):
        return None
    least = 0.5 if _ends_something(fact) else RELATED
    return ranked[0] if similarity(fact, ranked[0]["text"]) >= least else None


def says_the_same(fact: str, text: str) -> bool:
    """Whether nothing in `fact` is news to who knows `text`, which is about the same."""
    plain, known = _bare(fact), _bare(text)
    return (
        plain == known
        or (plain in known and len(plain) * 2 > len(known))
        or (similarity(fact, text) >= SAME and _numbers(fact) == _numbers(text))
    )


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", text))


def _bare(text: str) -> str:
    return re.sub(r"^(用户|user)|(现在|目前|now)|\W", "", text.lower())


def _rewritten(fact: str) -> str:
    """The fact in the model's own words: real models seldom repeat a fact as it was."""
    if lexicon.is_chinese(fact):
        return re.sub(r"^用户", "用户现在", fact) if fact.startswith("用户") else f"用户{fact}"
    if fact.lower().startswith("user"):
        return f"{fact} now"
    return f"User {fact[:1].lower()}{fact[1:]}"


def _literal(pattern: re.Pattern[str], prompt: str) -> list[Any]:
    """The list between the backticks: JSON or, as Mem0 writes it, a Python literal. Empty if there is none."""
    found = pattern.search(prompt)
    if not found:
        return []
    text = found[1].strip()
    try:
        value = json.loads(text)
    except ValueError:
        value = ast.literal_eval(text)
    return list(value)
