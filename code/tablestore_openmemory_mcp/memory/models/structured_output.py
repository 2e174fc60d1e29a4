"""Ask a model, understand its answer, and ask once more, showing it what was wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

from ...errors import ModelNonsense
from .answer_parsing import Unparseable, cut_at
from .answer_schemas import Form
from .chat import Answer, Message

T = TypeVar("T")

_A_LOOP = 4  # entries, of which half say the same
_QUOTED = 4_000  # characters of a bad answer that are shown back to the model


class Chat(Protocol):
    """A ChatModel, or one that is metered."""

    def complete(self, messages: Sequence[Message], *, deadline: float, form: Form | None = None) -> Answer: ...


class NotUnderstood(ModelNonsense):
    """Two answers of the LLM were of no use. Nothing was stored."""

    def __init__(self, why: str) -> None:
        super().__init__(why, setting="LLM_MODEL")


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """`value` as read; `truncated` when both answers stopped half-way, so that the last entry may be half a one."""

    value: T
    truncated: bool = False


def ask(
    chat: Chat,
    messages: Sequence[Message],
    read: Callable[[str], T],
    *,
    deadline: float,
    form: Form | None = None,
    objection: Callable[[T], str | None] = lambda value: None,
) -> Parsed[T]:
    """What `read` makes of the model's answer. Raises NotUnderstood if two answers cannot be understood.

    `objection`: what is wrong with a value that was understood, if anything is; the second value is taken as it is.
    """
    first = chat.complete(messages, deadline=deadline, form=form)
    usable: Parsed[T] | None = None
    try:
        parsed = _parsed(first, read(first.text))
        if parsed.truncated:
            complaint: str | None = "it stops half-way; answer more briefly"
        else:
            usable, complaint = parsed, objection(parsed.value)
        if complaint is None:
            return parsed
    except Unparseable as e:
        complaint = str(e)
    second = chat.complete([*messages, *_corrected(first, complaint)], deadline=deadline, form=form)
    try:
        return _parsed(second, read(second.text))
    except Unparseable as e:
        if usable is not None:
            return usable
        raise NotUnderstood(f"The LLM's answer could not be understood, twice ({e})") from None


def whole(parsed: Parsed[list[T]]) -> list[T]:
    """All but the last of what is truncated. Raises NotUnderstood if that was all."""
    if parsed.truncated and len(parsed.value) < 2:
        raise NotUnderstood("The LLM stopped half-way, twice. A shorter text may work")
    return parsed.value[:-1] if parsed.truncated else parsed.value


def _parsed(answer: Answer, value: T) -> Parsed[T]:
    if not _cut(answer):
        return Parsed(value)
    if isinstance(value, list) and _is_loop(value):
        return Parsed(cast(T, value[:-1]))
    return Parsed(value, truncated=True)


def _is_loop(value: Sequence[object]) -> bool:
    """Whether the model said the same until it was stopped: then it has said all it had to say before."""
    return len(value) > _A_LOOP and value[-_A_LOOP - 1 : -1].count(value[-2]) >= _A_LOOP // 2


def _cut(answer: Answer) -> bool:
    return answer.cut or cut_at(answer.text) is not None


def _corrected(answer: Answer, complaint: str) -> list[Message]:
    said = answer.text.strip()[:_QUOTED] or "(nothing)"  # vendors refuse an empty message
    request = f"That answer cannot be used: {complaint}. Answer again, with the JSON object only."
    return [{"role": "assistant", "content": said}, {"role": "user", "content": request}]
