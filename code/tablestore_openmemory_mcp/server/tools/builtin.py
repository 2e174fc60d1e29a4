"""Which tools there are: the reference's four, by its names and with its meaning, and ours if they are wanted."""

from dataclasses import replace
from typing import TYPE_CHECKING

from mcp_types import ToolAnnotations

from ...settings import Settings
from . import results
from .expiry import milliseconds
from .extra import EXTRA_TOOLS
from .spec import Argument, MemoryApi, Request, ToolSpec

if TYPE_CHECKING:  # memory's model needs numpy, which the first answer must not wait for
    from ...memory.model import Page

INSTRUCTIONS = (
    "Long-term memory about the user, shared by all applications that are connected to it. Call search_memories "
    "before you answer anything that may depend on what the user told you or another assistant earlier. Call "
    "add_memories when the user states a lasting fact, preference, plan or correction; corrections update what is "
    "stored. list_memories shows everything. delete_all_memories cannot be undone: only at the user's explicit wish."
)


EXPIRES_AT = Argument(
    "expires_at",
    "Only for what is true for a while: until when to remember it, a day or a time in ISO 8601.",
    False,
)


def _add(memory: MemoryApi, call: Request) -> str:
    result = memory.add(
        call.scope,
        call.arguments["text"],
        actor=call.scope.client_name,
        progress=call.progress,
        deadline=call.deadline,
        expires_at=milliseconds(call.arguments.get("expires_at", "")) or None,
    )
    return results.added(result, max_bytes=call.max_bytes)


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
    specs: tuple[ToolSpec, ...] = TOOLS
    if settings.extra_tools:
        add, *others = TOOLS
        specs = (replace(add, arguments=(*add.arguments, EXPIRES_AT)), *others, *EXTRA_TOOLS)
    return {spec.name: spec for spec in specs if spec.name not in settings.tool_black_list}
