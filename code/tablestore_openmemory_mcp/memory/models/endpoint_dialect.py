"""What one endpoint takes for one model of the OpenAI protocol, learnt from what it refuses."""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from .answer_schemas import Form

ResponseFormat = Literal["json_schema", "json_object", "none"]
_NEXT_BEST: dict[ResponseFormat, ResponseFormat] = {"json_schema": "json_object", "json_object": "none", "none": "none"}
_LEAST_TOKENS = 256  # a smaller number in a refusal is no bound on an answer
_NUMBER = re.compile(r"(?<![\w.-])\d{1,9}(?![\w-]|\.\d)")  # but those of a model's name
_UNKNOWN = ("unrecognized", "unknown", "not supported", "unsupported", "unexpected", "extra", "not permitted")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What this model takes. Kept for the process's life.

    `bounded`: whether answers are given a bound; not where thoughts count towards it. `limit` is that parameter's name,
    `most_tokens` the most that may be asked for. `room`: False for a request that leaves no room for its bound.
    """

    response_format: ResponseFormat = "json_schema"
    stream: bool = False
    thinking: bool | None = None  # None: `enable_thinking` is not sent
    temperature: bool = True
    bounded: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    most_tokens: int | None = None
    room: bool = True

    @property
    def learnt(self) -> "Dialect":
        """What is true of other requests, too."""
        return replace(self, room=True)

    def options(self, form: Form | None) -> dict[str, Any]:
        """Of a chat completion whose answer is to have `form`."""
        options: dict[str, Any] = {"stream": self.stream}
        if self.temperature:
            options["temperature"] = 0
        if self.response_format == "json_schema" and form:
            schema = {"name": form.name, "strict": True, "schema": form.schema}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.response_format != "none":
            options["response_format"] = {"type": "json_object"}
        if self.bounded and self.room and form:
            options[self.limit] = min(form.most_tokens, self.most_tokens or form.most_tokens)
        if self.thinking is not None:
            options["enable_thinking"] = self.thinking
        return options


def adapted(dialect: Dialect, refusal: str) -> Dialect:
    """The dialect to try after `refusal` (lower case); the same one if the refusal is about something else.

    The sentences are DashScope's, OpenAI's, vLLM's and llama.cpp's; what counts in each is the parameter that it names.
    """
    if "enable_thinking" in refusal or "thinking mode" in refusal:
        if dialect.thinking is None:
            return replace(dialect, thinking=False)
        if any(word in refusal for word in _UNKNOWN):
            return replace(dialect, thinking=None)
        return replace(dialect, thinking=True, stream=True, response_format="none")
    if any(word in refusal for word in ("max_tokens", "max_completion_tokens", "completion tokens", "max_new_tokens")):
        return _bounded_otherwise(dialect, refusal)
    if "context length" in refusal or "context size" in refusal or "context window" in refusal:
        return replace(dialect, room=False)
    if any(word in refusal for word in ("response_format", "json_object", "json mode", "schema", "grammar")):
        return replace(dialect, response_format=_NEXT_BEST[dialect.response_format])
    if "stream" in refusal:
        return replace(dialect, stream=not dialect.stream)
    if "temperature" in refusal:
        return replace(dialect, temperature=False)
    return dialect


def _bounded_otherwise(dialect: Dialect, refusal: str) -> Dialect:
    if "context" in refusal:  # the request and its answer together are too long; a shorter request is not
        return replace(dialect, room=False)
    if dialect.limit == "max_tokens" and "max_completion_tokens" in refusal:
        return replace(dialect, limit="max_completion_tokens")
    if any(word in refusal for word in _UNKNOWN):
        return replace(dialect, bounded=False)
    named = [int(n) for n in _NUMBER.findall(refusal)]  # "Range of max_tokens is [1, 8192]"
    allowed = [n for n in named if n >= _LEAST_TOKENS and (dialect.most_tokens is None or n < dialect.most_tokens)]
    return replace(dialect, most_tokens=min(allowed)) if allowed else replace(dialect, bounded=False)
