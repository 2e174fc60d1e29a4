"""The OpenAI wire format: answers, streams and refusals, as DashScope and OpenAI word them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .http import Reply

if TYPE_CHECKING:
    from .endpoint import Model

_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
_CREATED = 1_763_800_000  # any; nobody looks


def error(status: int, message: str, retry_after: float | str | None = None) -> Reply:
    detail = {"message": message, "type": "invalid_request_error", "param": None, "code": str(status)}
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Reply(status, json.dumps({"error": detail}).encode(), headers=headers)


def refusal(body: Mapping[str, Any], model: Model) -> Reply | None:
    """Why the vendor will not take this chat request; None if it will."""
    if model.stream_only and not body.get("stream"):
        return error(
            400, "This model only support stream mode, please enable the stream parameter to access the model."
        )
    form = (body.get("response_format") or {}).get("type")
    if form == "json_schema" and not model.json_schema:
        return error(400, "'response_format.type' : 'json_schema' is not supported by this model.")
    for limit in ("max_tokens", "max_completion_tokens"):
        if limit in body and limit != model.limit:
            instead = f" Use '{model.limit}' instead." if model.limit else ""
            return error(400, f"Unsupported parameter: '{limit}' is not supported with this model.{instead}")
        if body.get(limit, 0) > model.most_tokens:
            return error(400, f"<400> InternalError: Range of {limit} should be [1, {model.most_tokens}]")
    if form == "json_object":
        if not model.json_object:
            return error(400, "'response_format.type' : 'json_object' is not supported by this model.")
        if "json" not in json.dumps(body["messages"]).lower():
            wanted = "'messages' must contain the word 'json' in some form"
            return error(400, f"{wanted}, to use 'response_format' of type 'json_object'.")
    if model.thinking == "refused" and "enable_thinking" in body:
        return error(400, "Unrecognized request argument supplied: enable_thinking")
    if model.thinking == "required" and body.get("enable_thinking") is not False and not body.get("stream"):
        return error(400, "parameter.enable_thinking must be set to false for non-streaming calls")
    return None


def embedding_refusal(texts: Sequence[str], dimensions: int | None, model: Model) -> Reply | None:
    """Why the vendor will not embed this; None if it will."""
    if len(texts) > model.batch_limit:
        return error(400, f"batch size is invalid, it should not be larger than {model.batch_limit}.: input.contents")
    if not texts or not all(isinstance(t, str) and t for t in texts):
        return error(400, "input must be a string or a list of non-empty strings")
    if not model.refused_texts.isdisjoint(texts):
        return error(400, "Input data may contain inappropriate content.")
    if dimensions is not None and not model.takes_dimensions:
        return error(400, "This model does not support specifying dimensions.")
    if dimensions is not None and model.dimensions is not None and dimensions not in model.dimensions:
        return error(400, f"Invalid dimensions: {dimensions}, expected one of {sorted(model.dimensions)}")
    return None


def embeddings(matrix: NDArray[np.float32], body: Mapping[str, Any]) -> Reply:
    as_text = body.get("encoding_format") == "base64"  # what the SDK asks for unless told otherwise
    data = [
        {
            "object": "embedding",
            "index": i,
            "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode() if as_text else row.tolist(),
        }
        for i, row in enumerate(matrix)
    ]
    usage = {"prompt_tokens": len(matrix), "total_tokens": len(matrix)}
    return _json({"object": "list", "data": data, "model": body.get("model"), "usage": usage})


def tool_call(name: str, arguments: Mapping[str, Any], body: Mapping[str, Any]) -> Reply:
    """A chat answer that calls a tool, streamed if the request asks for it."""
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    call = {"index": 0, "id": f"call_{len(body['messages'])}", "type": "function", "function": function}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    head = {"id": "chatcmpl-fake", "created": _CREATED, "model": body.get("model")}
    if body.get("stream"):
        return _events(head, [said], "tool_calls")
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls"}
    return _json({**head, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def completion(content: str, body: Mapping[str, Any], *, in_reasoning: bool = False, cut: bool = False) -> Reply:
    """A chat answer, streamed if the request asks for it. `cut`: max_tokens ran out."""
    said = {"content": "", "reasoning_content": content} if in_reasoning else {"content": content}
    finish = "length" if cut else "stop"
    head = {"id": "chatcmpl-fake", "created": _CREATED, "model": body.get("model")}
    if body.get("stream"):
        return _stream(head, said, finish)
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}
    return _json({**head, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def _stream(head: Mapping[str, Any], said: Mapping[str, str], finish: str) -> Reply:
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    for field, text in said.items():
        deltas += [{field: text[i : i + 16]} for i in range(0, len(text), 16)]
    return _events(head, deltas, finish)


def _events(head: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]], finish: str) -> Reply:
    chunks: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    chunks.append({"index": 0, "delta": {}, "finish_reason": finish})
    events = [json.dumps({**head, "object": "chat.completion.chunk", "choices": [chunk]}) for chunk in chunks]
    return Reply(200, "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode(), "text/event-stream")


def _json(value: object) -> Reply:
    return Reply(200, json.dumps(value).encode())
