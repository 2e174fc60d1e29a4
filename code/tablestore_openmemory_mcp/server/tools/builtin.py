"""Which tools there are: the reference's four, by its names and with its meaning, and ours if they are wanted."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mcp_types import ToolAnnotations

from ...settings import ADD_DESCRIPTION, Settings
from . import results
from .expiry import milliseconds
from .extra import EXTRA_TOOLS
from .spec import Argument, MemoryApi, Request, ToolSpec

if TYPE_CHECKING:  # memory's model needs numpy, which the first answer must not wait for
    from ...memory.model import AddResult, Page

_INSTRUCTIONS = (
    "Long-term memory about the user, shared by all applications that are connected to it. Call search_memories "
    "before you answer anything that may depend on what the user told you or another assistant earlier. Call "
    "add_memories when the user states a lasting fact, preference, plan or correction{corrections}. list_memories "
    "shows everything. delete_all_memories cannot be undone: only at the user's explicit wish."
)
_VERBATIM_ADD = (
    "Remember something about the user for later conversations. Call it whenever the user states a fact, a preference, "
    "a plan or a correction, or asks you to remember something. What you pass is stored word for word: pass one fact "
    "at a time, complete in itself, in the user's own language."
)
# What an assistant is told where no LLM of ours compares, by the tool that it takes.
_CORRECTING = {
    "update_memory": "If what was said corrects, contradicts or completes a memory under `related` in the answer of "
    "add_memories, call update_memory with that memory's id and the text just stored, which then replaces both.",
    "delete_memories": "If it only repeats a memory under `related`, call delete_memories with the id of the text just "
    "stored.",
}


EXPIRES_AT = Argument(
    "expires_at",
    "Only for what is true for a while: until when to remember it, a day or a time in ISO 8601.",
    False,
)


def _add(memory: MemoryApi, call: Request) -> str:
    return results.added(_added(memory, call), max_bytes=call.max_bytes)


def _add_without_related(memory: MemoryApi, call: Request) -> str:
    """For a client that has no tool to correct with."""
    return results.added(replace(_added(memory, call), related=()), max_bytes=call.max_bytes)


def _added(memory: MemoryApi, call: Request) -> "AddResult":
    return memory.add(
        call.scope,
        call.arguments["text"],
        actor=call.scope.client_name,
        progress=call.progress,
        deadline=call.deadline,
        expires_at=milliseconds(call.arguments.get("expires_at", "")) or None,
    )


def _search(memory: MemoryApi, call: Request) -> str:
    return results.found(memory.search(call.scope, call.arguments["query"]), call.scope, max_bytes=call.max_bytes)


def _list(memory: MemoryApi, call: Request) -> str:
    def fetch(cursor: str | None, limit: int) -> "Page":
        return memory.list(call.scope, cursor=cursor, limit=limit)

    return results.listed(fetch, call.arguments.get("cursor"), call.scope, max_bytes=call.max_bytes)


def _delete_all(memory: MemoryApi, call: Request) -> str:
    return results.deleted(memory.delete_all(call.scope))


READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

TOOLS = (
    ToolSpec(
        "add_memories",
        "Remember",
        # destructive: a correction replaces what was stored
        ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False),
        (Argument("text", "What was said, in the user's own language."),),
        _add,
        slow=True,
    ),
    ToolSpec(
        "search_memories",
        "Recall",
        READS,
        (Argument("query", "What to look for, in the user's own language."),),
        _search,
    ),
    ToolSpec(
        "list_memories",
        "List memories",
        READS,
        (Argument("cursor", "Only to go on with a list that was cut short: the cursor of its last element.", False),),
        _list,
    ),
    ToolSpec(
        "delete_all_memories",
        "Forget everything",
        ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False),
        (),
        _delete_all,
    ),
)


def offered(settings: Settings) -> dict[str, ToolSpec]:
    """The tools that EXTRA_TOOLS adds and TOOL_BLACK_LIST leaves, by name, in a fixed order."""
    add, *others = TOOLS
    if settings.tools_by_id:
        add = replace(add, arguments=(*add.arguments, EXPIRES_AT))
        others += EXTRA_TOOLS
    specs = {spec.name: spec for spec in (add, *others) if spec.name not in settings.tool_black_list}
    if settings.pipeline == "verbatim" and add.name in specs:
        specs[add.name] = _verbatim(add, settings, _correcting(specs))
    return specs


def instructions(settings: Settings) -> str:
    """What the server says of itself, for a client to hand to its model."""
    if settings.pipeline != "verbatim":
        return _INSTRUCTIONS.format(corrections="; corrections update what is stored")
    return " ".join([_INSTRUCTIONS.format(corrections=""), *_correcting(offered(settings))])


def _verbatim(add: ToolSpec, settings: Settings, correcting: Sequence[str]) -> ToolSpec:
    """`add` where texts are stored as they are. A description that the operator wrote stays."""
    own = settings.tool_add_memories_description != ADD_DESCRIPTION
    description = "" if own else " ".join([_VERBATIM_ADD, *correcting])
    return replace(add, run=_add if correcting else _add_without_related, description=description)


def _correcting(tools: Collection[str]) -> list[str]:
    return [sentence for tool, sentence in _CORRECTING.items() if tool in tools]
