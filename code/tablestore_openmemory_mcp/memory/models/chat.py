"""The chat model: messages in, text out, whatever dialect of the OpenAI protocol the endpoint speaks."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import ModelError
from .answer_schemas import Form
from .endpoint import Endpoint, Refused, understood
from .endpoint_dialect import Dialect, adapted

if TYPE_CHECKING:
    import openai

Message = dict[str, str]
logger = logging.getLogger(__name__)

_SETTING = "LLM_MODEL"
_PATH = "/chat/completions"
_THOUGHTS = ("<think", "<|channel|>analysis", "◁think▷", "<reasoning")  # what begins like this is no answer yet


@dataclass(frozen=True, slots=True)
class Answer:
    """`cut`: the endpoint says that the model ran out of tokens. `thinks`: it thought first, or said nothing at all."""

    text: str
    cut: bool = False
    thinks: bool = False


class ChatModel:
    """Thread-safe. Builds and imports nothing before the first call."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model
        self._dialect = Dialect()

    def complete(self, messages: Sequence[Message], *, deadline: float, form: Form | None = None) -> Answer:
        """The model's answer before `deadline` (time.monotonic()), in `form` as far as the endpoint takes it.

        Raises a ModelError.
        """
        answer = self._asked(self._dialect, messages, form, deadline)
        if form and answer.cut and answer.thinks and self._dialect.bounded:
            logger.info("the LLM spends tokens on thoughts: its answers are not bounded any more")
            self._dialect = replace(self._dialect, bounded=False)
            answer = self._asked(self._dialect, messages, form, deadline)
        return answer

    def _asked(self, dialect: Dialect, messages: Sequence[Message], form: Form | None, deadline: float) -> Answer:
        tried = {dialect}
        while True:
            try:
                ask = partial(self._ask, dialect, messages, form)
                answer = self._endpoint.call("The LLM", _SETTING, ask, deadline)
            except Refused as refusal:
                other = adapted(dialect, str(refusal))
                if other in tried:
                    raise ModelError(f"The LLM refused the request: {refusal.detail}", setting=_SETTING) from None
                logger.info("the LLM does not take %s; trying %s", dialect, other)
                dialect = other
                tried.add(other)
            else:
                self._dialect = dialect.learnt
                return answer

    def prepare(self) -> None:
        """Import what a request needs, which may take a second. Raises a ModelError."""
        self._endpoint.prepare()

    def close(self) -> None:
        """Let go of the endpoint's connections."""
        self._endpoint.close()

    def _ask(
        self,
        dialect: Dialect,
        messages: Sequence[Message],
        form: Form | None,
        client: "openai.OpenAI",
        timeout: float,
    ) -> Answer:
        body = {"model": self._model, "messages": list(messages), **dialect.options(form)}
        # As plain objects: the SDK's own take twice as long to build, and a stream has one for every word.
        if dialect.stream:
            return _streamed(
                client.post(
                    _PATH, cast_to=object, body=body, options={"timeout": timeout}, stream=True, stream_cls=_stream()
                )
            )
        reply = client.post(_PATH, cast_to=object, body=body, options={"timeout": timeout})
        return _whole(understood(reply, "The LLM", "choices", self._endpoint.url_setting))


def _stream() -> "type[openai.Stream[object]]":
    import openai

    return openai.Stream[object]


def _whole(choices: Sequence[Any]) -> Answer:
    for choice in choices[:1]:
        content, reasoning = _said(choice["message"])
        return _answer(content, reasoning, choice.get("finish_reason"))
    return Answer("")


def _streamed(chunks: Any) -> Answer:
    content, reasoning, finish = "", "", None
    with chunks:
        for chunk in chunks:
            for choice in (chunk.get("choices") or [])[:1]:
                more = _said(choice.get("delta"))
                content, reasoning = content + more[0], reasoning + more[1]
                finish = choice.get("finish_reason") or finish
    return _answer(content, reasoning, finish)


def _said(part: Any) -> tuple[str, str]:
    """What `part` says, and what it thinks: in `reasoning_content`, or with vLLM and OpenRouter in `reasoning`."""
    said = part or {}
    thinks = said.get("reasoning_content") or said.get("reasoning")
    return _text(said.get("content")), _text(thinks)


def _text(content: Any) -> str:
    """Text, a list of parts with texts, or whatever else a vendor has parsed already."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else "" if content is None else json.dumps(content, ensure_ascii=False)


def _answer(content: str, reasoning: str, finish: str | None) -> Answer:
    if finish == "content_filter":
        raise ModelError("The LLM's content filter stopped the answer; nothing was stored", setting=_SETTING)
    thinks = bool(reasoning) or not content.strip() or content.lstrip().startswith(_THOUGHTS)
    return Answer(content or reasoning, cut=finish == "length", thinks=thinks)
