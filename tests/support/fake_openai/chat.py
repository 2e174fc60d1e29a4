"""Which of Mem0's prompts a request carries, and the answer a well-behaved model would give."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from . import decisions, facts

Kind = Literal["extraction", "update", "other"]
Answer = dict[str, list[Any]]


def kind_of(body: Mapping[str, Any]) -> Kind:
    """The prompt of this request: also told apart when a retry appended the model's bad answer and a complaint."""
    text = "\n".join(_texts(body))
    if "new retrieved facts" in text:
        return "update"
    return "extraction" if "facts" in text else "other"


def answer(body: Mapping[str, Any]) -> Answer | None:
    """The object to be written as JSON; None for a prompt that is none of Mem0's."""
    kind = kind_of(body)
    if kind == "update":
        prompt = next(text for text in _texts(body) if "new retrieved facts" in text)
        return {"memory": decisions.decide(prompt)}
    if kind == "extraction":
        return {"facts": facts.extract(_first_user_message(body))}
    return None


def _texts(body: Mapping[str, Any]) -> Sequence[str]:
    return [_content(m) for m in body.get("messages", []) if m.get("role") != "assistant"]


def _first_user_message(body: Mapping[str, Any]) -> str:
    said = [_content(m) for m in body.get("messages", []) if m.get("role") == "user"]
    labelled = [text for text in said if re.match(r"\s*input:", text, re.IGNORECASE)]
    return (labelled or said or [""])[0]


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
