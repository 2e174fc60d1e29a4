"""An assistant with tools: it does what their descriptions say, and nothing else.

What it brings along is what any model has: it tells a question from a statement, parts a message into facts, and
judges whether two texts speak of the same thing and say the same of it (`facts`, `decisions`). Which tool that is a
reason to call, what of an answer to look at, and what to pass on, it reads in the descriptions that it was given:

    Call it when(ever) the user states …     a tool for statements; "one fact at a time": a call for each fact
    Call it before you answer …              a tool for questions
    If … contradicts … a memory under `FIELD` …, call TOOL with that memory's id and the text just stored …
    If … repeats …, call TOOL with the id of the text just stored

It keeps nothing: each request is answered from its messages. What the person said stands between 「 and 」, or is the
last message as a whole.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import decisions, facts

_SENTENCE = re.compile(r"(?<=[.!?。])\s+")
_CONDITION = re.compile(r"^If (?P<what>.+?), call (?P<tool>\w+) with (?P<arguments>.+?)(?:, which .+)?\.?$", re.DOTALL)
_FIELD = re.compile(r"`(\w+)`")
_QUOTED = re.compile("「(.*?)」", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """`tool` as it is offered: clients put their own prefix before the name."""

    tool: str
    arguments: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What tells one call from another."""
        return json.dumps([self.tool, self.arguments], sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    description: str
    properties: Mapping[str, Any]

    @property
    def required(self) -> list[str]:
        return [name for name, schema in self.properties.items() if schema.get("required")]


def reply(body: Mapping[str, Any]) -> Call | str:
    """The next call, or what is said at the end: what the tools answered last."""
    tools = list(_offered(body.get("tools") or []))
    said, made = _conversation(body["messages"])
    question = bool(re.search(r"[?？]\s*$", said))
    tool = _for(tools, r"Call it before you answer" if question else r"Call it when(?:ever)? the user states")
    if tool is None:
        return "I have no tool for that."
    for text in _parts(said, tool, question):
        call = Call(tool.name, {_texts(tool)[0]: text})
        if call.key not in made:
            return call
        for further in _corrections(tools, tool, made[call.key]):
            if further.key not in made:
                return further
    return "\n".join(made.values()) or "There is nothing to remember."


def _offered(tools: Sequence[Mapping[str, Any]]) -> Iterator[_Tool]:
    for tool in tools:
        function = tool.get("function", tool)
        schema = function.get("parameters") or {}
        needed = schema.get("required") or []
        properties = {n: {**about, "required": n in needed} for n, about in (schema.get("properties") or {}).items()}
        yield _Tool(function.get("name", ""), function.get("description") or "", properties)


def _conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """What the person said last, and what each call made since answered, by its key."""
    last = max(n for n, message in enumerate(messages) if message["role"] == "user" and _text(message).strip())
    made: dict[str, str] = {}
    asked: dict[str, Call] = {}
    for message in messages[last + 1 :]:
        for call in message.get("tool_calls") or []:
            asked[call["id"]] = Call(call["function"]["name"], json.loads(call["function"]["arguments"] or "{}"))
        if message["role"] == "tool" and message.get("tool_call_id") in asked:
            made[asked[message["tool_call_id"]].key] = _text(message)
    said = _text(messages[last])
    quoted = _QUOTED.findall(said)
    return (quoted[-1] if quoted else said), made


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))


def _for(tools: Sequence[_Tool], occasion: str) -> _Tool | None:
    return next((tool for tool in tools if re.search(occasion, tool.description)), None)


def _parts(said: str, tool: _Tool, question: bool) -> list[str]:
    one_by_one = not question and "one fact at a time" in tool.description
    return facts.extract(said) if one_by_one else [said]


def _texts(tool: _Tool) -> list[str]:
    return [name for name in tool.required if tool.properties[name].get("type") == "string"]


def _corrections(tools: Sequence[_Tool], used: _Tool, answered: str) -> Iterator[Call]:
    """The calls that `used`'s description asks for, after what it `answered`."""
    answer = _json_in(answered)
    if not isinstance(answer, dict) or not answer.get("results"):
        return
    stored = answer["results"][0]
    for sentence in _SENTENCE.split(used.description):
        condition = _CONDITION.match(sentence)
        if condition is None:
            continue
        field, tool = _FIELD.search(condition["what"]), _named(tools, condition["tool"])
        for memory in answer.get(field[1], []) if field and tool else []:
            if tool and re.search(_relation(stored["memory"], memory["memory"]), condition["what"]):
                yield Call(tool.name, dict(_arguments(tool, condition["arguments"], memory, stored)))
                return


def _named(tools: Sequence[_Tool], name: str) -> _Tool | None:
    return next((tool for tool in tools if tool.name.endswith(name)), None)


def _relation(text: str, memory: str) -> str:
    """A pattern of the verb that fits: what `text` does to `memory`."""
    entry = {"id": "0", "text": memory, "event": "NONE"}
    if decisions.about_the_same(text, [entry]) is None:
        return r"(?!)"
    return r"\brepeats?\b" if decisions.says_the_same(text, memory) else r"\bcontradicts?\b"


def _arguments(
    tool: _Tool, wanted: str, memory: Mapping[str, Any], stored: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The `wanted` values, each under the required property that it fits."""
    for value in re.split(r",? and ", wanted):
        is_id = re.search(r"\bid\b", value) is not None
        of = memory if "that memory" in value else stored
        for name in tool.required:
            if is_id == bool(re.search(r"(^|_)ids?$", name)):
                given = of["id"] if is_id else of["memory"]
                yield name, [given] if tool.properties[name].get("type") == "array" else given


def _json_in(text: str) -> Any:
    """The JSON that a tool answered, however the client has wrapped it."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, dict) and "results" in value:
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in inner:
        found = _json_in(item if isinstance(item, str) else json.dumps(item))
        if isinstance(found, dict) and "results" in found:
            return found
    return None
