"""Questions and the memories that answer them, from public conversation sets and our own. Nothing is downloaded."""

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parent / "data"
CHINESE = DATA / "zh_memories.json"
EVERYDAY = DATA / "everyday.json"

Use = Literal["choose", "report"]


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    evidence: frozenset[str]  # ids of the memories that hold the answer
    kind: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One scope: its memories (id to text) and what is asked about them."""

    name: str
    memories: dict[str, str]
    questions: Sequence[Question]


def locomo(path: Path) -> list[Conversation]:
    """data/locomo10.json of snap-research/LoCoMo (CC BY-NC 4.0): the turns, with image captions; no adversarial
    questions."""
    return [_locomo(number, sample) for number, sample in enumerate(json.loads(path.read_text()))]


def _locomo(number: int, sample: dict[str, Any]) -> Conversation:
    memories = {
        turn["dia_id"]: f"{turn['speaker']}: {turn['text']} {turn.get('blip_caption', '')}".strip()
        for key, turns in sample["conversation"].items()
        if key.startswith("session_") and isinstance(turns, list)
        for turn in turns
    }
    questions = [
        Question(qa["question"], evidence, str(qa["category"]))
        for qa in sample["qa"]
        if qa["category"] != 5 and (evidence := _turns(qa["evidence"]) & memories.keys())
    ]
    return Conversation(f"LoCoMo {number}", memories, questions)


def _turns(evidence: Sequence[str]) -> frozenset[str]:
    """Some entries name several turns, or write them "D:11:26" or "D30:05"."""
    found = re.findall(r"D:?(\d+):(\d+)", " ".join(evidence))
    return frozenset(f"D{int(session)}:{int(turn)}" for session, turn in found)


def locomo_facts(path: Path) -> list[list[str]]:
    """The observations of the same file: the facts of each speaker in the order they came up, without the name."""
    return [facts for sample in json.loads(path.read_text()) for facts in _observations(sample["observation"])]


def _observations(sessions: dict[str, Any]) -> Iterator[list[str]]:
    in_order = [sessions[key] for key in sorted(sessions, key=lambda key: int(key.split("_")[1]))]
    for speaker in in_order[0]:
        observed = [o if isinstance(o, str) else o[0] for session in in_order for o in session.get(speaker, [])]
        yield [re.sub(rf"\b{speaker}(?:'s)?\b\s*", "", fact) for fact in observed]


def beam(folder: Path) -> list[Conversation]:
    """chats/100K of mohammadtavakoli78/BEAM: the messages; no summaries, no abstentions."""
    chats = [file.parent for file in folder.glob("*/chat.json")]
    return [_beam(chat) for chat in sorted(chats, key=lambda p: int(p.name))]


def _beam(folder: Path) -> Conversation:
    batches = json.loads((folder / "chat.json").read_text())
    memories = {str(m["id"]): m["content"] for b in batches for turn in b["turns"] for m in turn}
    asked = json.loads((folder / "probing_questions" / "probing_questions.json").read_text())
    questions = [
        Question(q["question"], evidence, kind)
        for kind, group in asked.items()
        if kind not in ("summarization", "abstention")
        for q in group
        if (evidence := frozenset(_leaves(q.get("source_chat_ids"))) & memories.keys())
    ]
    return Conversation(f"BEAM {folder.name}", memories, questions)


def chinese(path: Path = CHINESE) -> list[Conversation]:
    """Our own set of Chinese memories."""
    return [_own("zh", user) for user in json.loads(path.read_text("utf-8"))["users"]]


def everyday(use: Use | None = None, path: Path = EVERYDAY) -> list[Conversation]:
    """Our own set of short facts in Chinese, English and both. `use`: only the people that a rule may be chosen on, or
    only those that are kept for reporting."""
    users = json.loads(path.read_text("utf-8"))["users"]
    return [_own("everyday", user) for user in users if use in (None, user["use"])]


def _own(set_name: str, user: dict[str, Any]) -> Conversation:
    return Conversation(
        f"{set_name} {user['id']}",
        {m["id"]: m["text"] for m in user["memories"]},
        [Question(q["text"], frozenset(q["evidence"]), q["kind"]) for q in user["questions"]],
    )


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        value = ast.literal_eval(value) if value[:1] in "[{" else [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield str(value)
