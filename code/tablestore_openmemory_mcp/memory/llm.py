"""The chat model: messages in, text out, whatever dialect of the OpenAI protocol the endpoint speaks."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ..errors import ModelError
from .endpoint import Endpoint, Refused, understood

if TYPE_CHECKING:
    import openai

Message = dict[str, str]
logger = logging.getLogger(__name__)

_SETTING = "LLM_MODEL"


@dataclass(frozen=True, slots=True)
class Answer:
    """`cut`: the endpoint says that the model ran out of tokens."""

    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """What this model takes. Learned from its refusals and kept for the process's life."""

    json_object: bool = True
    stream: bool = False
    thinking: bool | None = None  # None: `enable_thinking` is not sent
    temperature: bool = True


class ChatModel:
    """Thread-safe. Builds and imports nothing before the first call."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model
        self._dialect = Dialect()

    def complete(self, messages: Sequence[Message], *, deadline: float) -> Answer:
        """The model's answer before `deadline` (time.monotonic()). Raises a ModelError."""
        dialect, tried = self._dialect, {self._dialect}
        while True:
            try:
                answer = self._endpoint.call("The LLM", _SETTING, partial(self._ask, dialect, messages), deadline)
            except Refused as refusal:
                other = adapted(dialect, str(refusal))
                if other in tried:
                    raise ModelError(f"The LLM refused the request: {refusal.detail}", setting=_SETTING) from None
                logger.info("the LLM does not take %s; trying %s", dialect, other)
                dialect = other
                tried.add(other)
            else:
                self._dialect = dialect
                return answer

    def close(self) -> None:
        """Let go of the endpoint's connections."""
        self._endpoint.close()

    def _ask(self, dialect: Dialect, messages: Sequence[Message], client: "openai.OpenAI", timeout: float) -> Answer:
        options: dict[str, Any] = {"stream": dialect.stream}
        if dialect.temperature:
            options["temperature"] = 0
        if dialect.json_object:
            options["response_format"] = {"type": "json_object"}
        if dialect.thinking is not None:
            options["extra_body"] = {"enable_thinking": dialect.thinking}
        reply: Any = client.chat.completions.create(
            model=self._model, messages=cast(Any, list(messages)), timeout=timeout, **options
        )
        return _streamed(reply) if dialect.stream else _whole(understood(reply, "The LLM", "choices"))


def adapted(dialect: Dialect, refusal: str) -> Dialect:
    """The dialect to try after `refusal` (lower case); the same one if the refusal is about something else.

    The sentences are DashScope's, OpenAI's and vLLM's; what counts in each is the parameter that it names.
    """
    if "enable_thinking" in refusal or "thinking mode" in refusal:
        if dialect.thinking is None:
            return replace(dialect, thinking=False)
        if any(word in refusal for word in ("unrecognized", "unknown", "not supported", "unexpected", "extra")):
            return replace(dialect, thinking=None)
        return replace(dialect, thinking=True, stream=True, json_object=False)
    if "stream" in refusal:
        return replace(dialect, stream=not dialect.stream)
    if any(word in refusal for word in ("response_format", "json_object", "json mode", "json_schema")):
        return replace(dialect, json_object=False)
    if "temperature" in refusal:
        return replace(dialect, temperature=False)
    return dialect


def _whole(reply: Any) -> Answer:
    for choice in reply.choices[:1]:
        content, reasoning = _said(choice.message)
        return _answer(content, reasoning, choice.finish_reason)
    return Answer("")


def _streamed(chunks: Any) -> Answer:
    content, reasoning, finish = "", "", None
    with chunks:
        for chunk in chunks:
            for choice in (chunk.choices or [])[:1]:
                more = _said(choice.delta)
                content, reasoning, finish = content + more[0], reasoning + more[1], choice.finish_reason or finish
    return _answer(content, reasoning, finish)


def _said(part: Any) -> tuple[str, str]:
    """What `part` says, and what it thinks: in `reasoning_content`, or with vLLM and OpenRouter in `reasoning`."""
    thinks = getattr(part, "reasoning_content", None) or getattr(part, "reasoning", None)
    return _text(getattr(part, "content", None)), _text(thinks)


def _text(content: Any) -> str:
    """Text, a list of parts with texts, or whatever else a vendor has parsed already."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content)
    return content if isinstance(content, str) else "" if content is None else json.dumps(content, ensure_ascii=False)


def _answer(content: str, reasoning: str, finish: str | None) -> Answer:
    if finish == "content_filter":
        raise ModelError("The LLM's content filter stopped the answer; nothing was stored", setting=_SETTING)
    return Answer(content or reasoning, cut=finish == "length")
