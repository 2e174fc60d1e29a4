"""The forms that answers are to have: a JSON schema, and the most tokens that a right answer can need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BASE = 512  # tokens: brackets, and facts that say more than the text, such as the date of "tomorrow"
_AN_ENTRY = 64  # tokens around the texts of an entry of the update answer
_NOT_ASCII = 3  # tokens of one character, for tokenizers that know no Chinese; an ASCII character is one at most


@dataclass(frozen=True, slots=True)
class Form:
    """`schema` is strict as OpenAI means it: every property required, no other allowed."""

    name: str
    schema: Mapping[str, Any]
    most_tokens: int


def facts_form(text: str) -> Form:
    """Of the facts in `text`: not longer than the text itself, in any tokenizer."""
    return Form("facts", _object(facts=_list({"type": "string"})), _BASE + _tokens(text))


def update_form(shown: Iterable[str], facts: Sequence[str]) -> Form:
    """Of the decisions about `facts` and the `shown` memories: each text at most twice (as `text` and `old_memory`)."""
    old = list(shown)
    entry = _object(
        id={"type": "string"},
        text={"type": "string"},
        event={"type": "string", "enum": ["ADD", "UPDATE", "DELETE", "NONE"]},
        old_memory={"type": ["string", "null"]},
        fact={"type": ["integer", "null"]},
    )
    texts = 2 * sum(map(_tokens, old)) + 2 * sum(map(_tokens, facts))
    return Form("memory", _object(memory=_list(entry)), _BASE + texts + _AN_ENTRY * (len(old) + len(facts)))


def entries_form(said: str) -> Form:
    """Of the new memories in `said`, for Mem0's additive prompt."""
    entry = _object(id={"type": "string"}, text={"type": "string"})
    return Form("memory", _object(memory=_list(entry)), 2 * _BASE + 2 * _tokens(said))


def _tokens(text: str) -> int:
    ascii_ = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return ascii_ + _NOT_ASCII * (len(text) - ascii_)


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}
