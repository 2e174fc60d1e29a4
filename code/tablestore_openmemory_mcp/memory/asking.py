"""Ask a model, understand its answer, and ask once more, showing it what was wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..errors import ModelNonsense
from .llm import Answer, Message
from .parsing import Unparseable, cut_at

T = TypeVar("T")

_QUOTED = 4_000  # characters of a bad answer that are shown back to the model


class Chat(Protocol):
    """A ChatModel, or one that is metered."""

    def complete(self, messages: Sequence[Message], *, deadline: float) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """`value` as read; `torn` when both answers stopped half-way, so that the last entry may be half a one."""

    value: T
    torn: bool = False


def ask(chat: Chat, messages: Sequence[Message], read: Callable[[str], T], *, deadline: float) -> Reading[T]:
    """What `read` makes of the model's answer. Raises ModelNonsense if two answers cannot be understood."""
    first = chat.complete(messages, deadline=deadline)
    try:
        value = read(first.text)
        if not _cut(first):
            return Reading(value)
        complaint = "it stops half-way; answer more briefly"
    except Unparseable as e:
        complaint = str(e)
    second = chat.complete([*messages, *_corrected(first, complaint)], deadline=deadline)
    try:
        return Reading(read(second.text), torn=_cut(second))
    except Unparseable as e:
        raise ModelNonsense(
            f"The LLM's answer could not be understood, twice ({e}). Nothing was stored", setting="LLM_MODEL"
        ) from None


def whole(reading: Reading[list[T]]) -> list[T]:
    """All but the last of what is torn. Raises ModelNonsense if that was all."""
    if reading.torn and len(reading.value) < 2:
        raise ModelNonsense(
            "The LLM stopped half-way, twice; nothing was stored. A shorter text may work", setting="LLM_MODEL"
        )
    return reading.value[:-1] if reading.torn else reading.value


def _cut(answer: Answer) -> bool:
    return answer.cut or cut_at(answer.text) is not None


def _corrected(answer: Answer, complaint: str) -> list[Message]:
    said = answer.text.strip()[:_QUOTED] or "(nothing)"  # vendors refuse an empty message
    request = f"That answer cannot be used: {complaint}. Answer again, with the JSON object only."
    return [{"role": "assistant", "content": said}, {"role": "user", "content": request}]
