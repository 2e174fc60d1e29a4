"""Tools beyond the reference's, for clients that manage memories one by one. EXTRA_TOOLS says when."""

from mcp_types import ToolAnnotations

from ...errors import InvalidInput
from . import results
from .expiry import milliseconds
from .spec import Argument, MemoryApi, Request, ToolSpec

_LONGEST_ID = 256  # bytes; ours have 36, and the store refuses to look for one of more than 1,024

ID = Argument("memory_id", "The memory's id, as another tool answered it.")


def _get(memory: MemoryApi, call: Request) -> str:
    found = memory.get(call.scope, call.arguments["memory_id"])
    if found is None:
        raise InvalidInput("There is no memory with this id.")
    return results.one(found, call.scope, max_bytes=call.max_bytes)


def _update(memory: MemoryApi, call: Request) -> str:
    expires_at = call.arguments.get("expires_at")
    outcome = memory.update(
        call.scope,
        call.arguments["memory_id"],
        call.arguments["text"],
        actor=call.scope.client_name,
        expires_at=None if expires_at is None else milliseconds(expires_at),
        deadline=call.deadline,
    )
    return results.outcomes([outcome], outcome.note, max_bytes=call.max_bytes)


def _delete(memory: MemoryApi, call: Request) -> str:
    ids = call.arguments["memory_ids"]
    done = memory.delete(call.scope, ids, actor=call.scope.client_name, deadline=call.deadline)
    return results.outcomes(done, max_bytes=call.max_bytes)


def _history(memory: MemoryApi, call: Request) -> str:
    memory_id = call.arguments["memory_id"]
    entries = memory.history(call.scope, memory_id) if len(memory_id.encode()) <= _LONGEST_ID else []
    if not entries:
        raise InvalidInput("There is no history of a memory with this id.")
    return results.lineage(entries, max_bytes=call.max_bytes)


_READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

EXTRA_TOOLS = (
    ToolSpec("get_memory", "Look up a memory", _READS, (ID,), _get, description="Look up one memory by its id."),
    ToolSpec(
        "update_memory",
        "Correct a memory",
        _CHANGES,
        (
            ID,
            Argument("text", "What the memory shall say, in the user's own language."),
            Argument(
                "expires_at",
                "Until when it is remembered, a day or a time in ISO 8601. Empty: for good; left out: as before.",
                False,
            ),
        ),
        _update,
        description="Replace the text of one memory, word for word. What it said before stays in its history; another "
        "memory that says the same is deleted.",
    ),
    ToolSpec(
        "delete_memories",
        "Forget some memories",
        _CHANGES,
        (Argument("memory_ids", "Memories' ids, as other tools answered them.", many=True),),
        _delete,
        description="Delete some memories by their ids: all of them or, if one does not exist, none.",
    ),
    ToolSpec(
        "memory_history",
        "A memory's history",
        _READS,
        (ID,),
        _history,
        description="What became of one memory: every version of it, when, why and by which application.",
    ),
)
