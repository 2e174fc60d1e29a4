"""Mem0's shipped prompts, with today's date, a person's own in their place, and the lines that we add."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from .chat import Message

_DATED = re.compile(r"Today's date is \d{4}-\d{2}-\d{2}")  # Mem0's date is that of its import
_JSON_FACTS = (
    '\n\nAnswer with a JSON object only: its key "facts" holds a list of strings, empty if there is nothing to '
    "remember. Write each fact in the language of the input."
)
# Mem0's prompt asks about old memories; a new fact that no entry mentions would be lost without a word (mem0 #3009),
# and a decision that names no fact has to be guessed at.
_EVERY_FACT = """

The new retrieved facts have numbers:
{numbered}
Every one of them must appear in your answer: as an ADD, inside the text of an UPDATE, or as the NONE of the memory \
that already says it. Give each entry that is about a new fact one more key, "fact": the number of that fact. An entry \
that no new fact is about is a NONE without this key. Keep the language of the facts. Use only ids listed above."""
_RECOGNISED = 100  # characters from which the model recognises a fact


@dataclass(frozen=True, slots=True)
class Prompts:
    """`shipped_extraction` and `shipped_update` are Mem0's; `own_…` a person's, put in their place.

    Nothing in a prompt is formatted again, so that `{...}` in it is only text.
    """

    shipped_extraction: str
    shipped_update: Callable[[str, str, str | None], str]  # Mem0's get_update_memory_messages
    own_extraction: str | None = None
    own_update: str | None = None

    def extraction(self, text: str) -> list[Message]:
        """The messages that ask for the facts in `text`."""
        system = self.own_extraction
        if system is None:
            system = _DATED.sub(f"Today's date is {date.today().isoformat()}", self.shipped_extraction)
        if "json" not in system.lower() or '"facts"' not in system:
            system += _JSON_FACTS
        return [{"role": "system", "content": system}, {"role": "user", "content": f"Input:\nuser: {text}"}]

    def update(self, shown: Mapping[str, str], facts: Sequence[str]) -> list[Message]:
        """The messages that ask what `facts` change in the `shown` memories (alias to text)."""
        old = [{"id": alias, "text": text} for alias, text in shown.items()]
        prompt = self.shipped_update(
            json.dumps(old, ensure_ascii=False), json.dumps(list(facts), ensure_ascii=False), self.own_update
        )
        numbered = "\n".join(f"{n}. {fact[:_RECOGNISED]}" for n, fact in enumerate(facts, 1))
        return [{"role": "user", "content": prompt + _EVERY_FACT.replace("{numbered}", numbered)}]
