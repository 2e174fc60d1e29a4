"""How real models dress, bend or break the JSON they were asked for: each style takes the right answer."""

import copy
import json
from collections.abc import Callable
from typing import Any

from .chat import Answer

Style = Callable[[Answer], str]


def plain(answer: Answer) -> str:
    return json.dumps(answer, ensure_ascii=False)


def fenced(answer: Answer) -> str:
    return f"```json\n{json.dumps(answer, ensure_ascii=False, indent=2)}\n```"


def chatty(answer: Answer) -> str:
    before, after = "Sure! Here is the JSON you asked for (see {the format} above):", "Do you need {anything} else?"
    return f"{before}\n\n{plain(answer)}\n\n{after}"


def think(answer: Answer) -> str:
    thought = 'The user says something. Maybe {"facts": ["wrong"]}? No, let me look again.'
    return f"<think>\n{thought}\n</think>\n\n{plain(answer)}"


def single_quoted(answer: Answer) -> str:
    return repr(answer)


def trailing_comma(answer: Answer) -> str:
    return plain(answer) if "[]" in plain(answer) else plain(answer).replace("]}", ",]}")


def truncated(answer: Answer) -> str:
    """Cut inside the last entry, as when max_tokens ran out."""
    text = plain(answer)
    return text[: max(1, len(text) - 6)]


def empty(answer: Answer) -> str:
    return ""


def not_json(answer: Answer) -> str:
    return "I am sorry, but I cannot help with that."


def object_list(answer: Answer) -> str:
    """Objects where strings were asked for, and a bare list where an object was."""
    if "facts" in answer:
        return json.dumps({"facts": [{"fact": fact} for fact in answer["facts"]]}, ensure_ascii=False)
    return json.dumps(answer["memory"], ensure_ascii=False)


def lower_events(answer: Answer) -> str:
    return plain(_each_entry(answer, lambda e: e.update(event=e["event"].lower())))


def unknown_events(answer: Answer) -> str:
    """Words that Mem0's prompt does not offer: MERGE for UPDATE, KEEP for NONE, INSERT for ADD, REMOVE for DELETE."""
    words = {"UPDATE": "MERGE", "NONE": "KEEP", "ADD": "INSERT", "DELETE": "REMOVE"}
    return plain(_each_entry(answer, lambda e: e.update(event=words[e["event"]])))


def hallucinated_ids(answer: Answer) -> str:
    """Every id is one that was never shown."""
    return plain(_each_entry(answer, lambda e: e.update(id=f"mem_{e['id']}999")))


def missing_ids(answer: Answer) -> str:
    return plain(_each_entry(answer, lambda e: e.pop("id")))


def integer_ids(answer: Answer) -> str:
    return plain(_each_entry(answer, lambda e: e.update(id=int(e["id"]))))


def duplicated_ids(answer: Answer) -> str:
    """Each entry twice, the copy with a text of its own."""
    if "memory" not in answer:
        return plain({"facts": [fact for fact in answer["facts"] for _ in range(2)]})
    pairs = [(entry, {**entry, "text": f"{entry['text']} (again)"}) for entry in answer["memory"]]
    doubled = [entry for pair in pairs for entry in pair]
    return plain({"memory": doubled})


def shifted_ids(answer: Answer) -> str:
    """Counted from one where zero was shown: wrong, and yet ids that exist."""
    return plain(_each_entry(answer, lambda e: e.update(id=str(int(e["id"]) + 1))))


def think_unclosed(answer: Answer) -> str:
    return f'<think>\nMaybe {{"facts": ["wrong"]}}? No.\n\n{plain(answer)}'


def thinking_tag(answer: Answer) -> str:
    thought = 'Maybe {"facts": ["wrong"]}, or {"memory": [{"id": "0", "event": "DELETE"}]}?'
    return f"<thinking>{thought}</thinking>\n{plain(answer)}"


def drafted(answer: Answer) -> str:
    """A first answer, and then, on second thoughts, the answer."""
    draft = {"facts": ["wrong"]} if "facts" in answer else {"memory": [{"id": "0", "text": "", "event": "DELETE"}]}
    return f"```json\n{plain(draft)}\n```\nWait, that is wrong. Corrected:\n```json\n{plain(answer)}\n```"


def tool_call(answer: Answer) -> str:
    return json.dumps({"name": "answer", "arguments": plain(answer)}, ensure_ascii=False)


def lines(answer: Answer) -> str:
    """One object a line."""
    items = [{key: [item]} if isinstance(item, str) else item for key, value in answer.items() for item in value]
    return "\n".join(json.dumps(item, ensure_ascii=False) for item in items) or plain(answer)


def full_width(answer: Answer) -> str:
    """Punctuation of a Chinese keyboard between the texts."""
    return plain(answer).replace('": ', '"：').replace('", "', '"，"')


def surrogates(answer: Answer) -> str:
    """A lone surrogate, escaped as JSON allows, at the end of every text."""
    marked = json.dumps(answer, ensure_ascii=False)
    return marked.replace('", "event"', '\\ud83d", "event"').replace('"]}', '\\ud83d"]}')


# What small models really wrote (gemma-3 270M in llama.cpp, and the reports of 0.5 billion parameter models).


def looping(answer: Answer) -> str:
    """The last text again and again, until it is stopped inside one."""
    key, items = next(iter(answer.items()))
    more = [*items, *items[-1:] * 40]
    return plain({key: more})[:-8]


def slashed(answer: Answer) -> str:
    """Quotes that are escaped where nothing needs it."""
    return plain(answer).replace('"', "\\'")


def dialogue(answer: Answer) -> str:
    """The prompt's few-shot dialogue goes on, with an answer in it, and with example answers that are not."""
    example = 'Input:\nassistant: Hi! I am John.\nOutput: {"facts": []}\n\n'
    return f"{example}User: Hi.\nOutput: {plain(answer)}"


def commented(answer: Answer) -> str:
    """The comments of Mem0's update prompt, copied into the answer, and its dots."""
    text = json.dumps(answer, ensure_ascii=False, indent=1)
    return (
        text.replace('",\n', '",   # Use existing ID\n').replace("\n ]", ",\n  ...\n ]") if "[]" not in text else text
    )


def parroting(answer: Answer) -> str:
    """The prompt's examples and its date, as if they had been said."""
    examples = [
        "Name is John",
        "Had a meeting with John at 3pm and discussed the new project",
        "Today's date is 2026-11-26",
    ]
    return plain({"facts": [*answer["facts"], *examples]}) if "facts" in answer else plain(answer)


def inventing(answer: Answer) -> str:
    """One fact more, from nowhere."""
    return plain({"facts": [*answer["facts"], "Central Park area"]}) if "facts" in answer else plain(answer)


def echoing_updates(answer: Answer) -> str:
    """Every memory that stays as it is is an UPDATE to its own text, with another's as its old one."""
    texts = [entry["text"] for entry in answer.get("memory", [])]

    def echo(entry: dict[str, Any]) -> None:
        if entry["event"] == "NONE":
            entry.update(event="UPDATE", old_memory=texts[texts.index(entry["text"]) - 1])

    return plain(_each_entry(answer, echo))


WEAK: dict[str, Style] = {
    style.__name__: style for style in (looping, slashed, dialogue, commented, parroting, inventing, echoing_updates)
}

STYLES: dict[str, Style] = {
    style.__name__: style
    for style in (
        plain, fenced, chatty, think, single_quoted, trailing_comma, truncated, empty, not_json, object_list,
        lower_events, unknown_events, hallucinated_ids, missing_ids, integer_ids, duplicated_ids, surrogates,
        shifted_ids, think_unclosed, thinking_tag, drafted, tool_call, lines, full_width,
    )
}  # fmt: skip


def _each_entry(answer: Answer, change: Callable[[dict[str, Any]], object]) -> Answer:
    changed = copy.deepcopy(answer)
    for entry in changed.get("memory", []):
        change(entry)
    return changed
