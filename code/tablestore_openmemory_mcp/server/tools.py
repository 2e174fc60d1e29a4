"""Which tools there are: the reference's names and meaning, annotations, and what each asks of the memory service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mcp_types import Tool, ToolAnnotations

from ..errors import InvalidInput
from ..scope import Scope
from ..settings import Settings
from . import results

if TYPE_CHECKING:  # memory's model needs numpy, which the first answer must not wait for
    from collections.abc import Sequence

    from ..memory.model import AddResult, Hit, Page, Progress

INSTRUCTIONS = (
    "Long-term memory about the user, shared by all applications that are connected to it. Call search_memories "
    "before you answer anything that may depend on what the user told you or another assistant earlier. Call "
    "add_memories when the user states a lasting fact, preference, plan or correction; corrections update what is "
    "stored. list_memories shows everything. delete_all_memories cannot be undone: only at the user's explicit wish."
)

# Which user is meant comes from the connection. A model that passes one of these would believe it had been heeded.
IDENTITY_ARGUMENTS = frozenset({"user_id", "client_name", "agent_id", "run_id", "app_id", "actor_id"})


class Memory(Protocol):
    """What the server asks of the memory service (memory/service.py). Blocking: called on worker threads only."""

    def add(
        self,
        scope: Scope,
        text: str,
        *,
        actor: str | None = None,
        progress: "Progress | None" = None,
        deadline: float | None = None,
    ) -> "AddResult": ...
    def search(self, scope: Scope, query: str, *, limit: int | None = None) -> "Sequence[Hit]": ...
    def list(self, scope: Scope, *, cursor: str | None = None, limit: int | None = None) -> "Page": ...
    def delete_all(self, scope: Scope) -> int: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One tool call, checked: what a tool's function gets on its worker thread."""

    scope: Scope
    arguments: Mapping[str, str]
    progress: "Progress"
    deadline: float  # time.monotonic()
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    description: str
    required: bool = True


USER_ID = Argument("user_id", "Whose memory it is, if not the connection's user. Only if you were told one.", False)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    title: str
    annotations: ToolAnnotations
    arguments: tuple[Argument, ...]
    run: Callable[[Memory, Request], str]
    slow: bool  # waits for an LLM: has its own pool

    def tool(self, settings: Settings) -> Tool:
        """As tools/list shows it."""
        arguments = (*self.arguments, USER_ID) if settings.tool_user_id_argument else self.arguments
        return Tool(
            name=self.name,
            title=self.title,
            description=getattr(settings, f"tool_{self.name}_description"),
            input_schema={
                "type": "object",
                "properties": {a.name: {"type": "string", "description": a.description} for a in arguments},
                "required": [a.name for a in arguments if a.required],
            },
            annotations=self.annotations,
        )

    def checked(self, given: Mapping[str, Any]) -> dict[str, str]:
        """The arguments of `given` that this tool takes. Raises InvalidInput.

        Others are ignored: some clients send a dummy to tools without arguments. But not those that name a user.
        """
        if wrong := sorted(IDENTITY_ARGUMENTS & given.keys()):
            raise InvalidInput(f"{self.name} takes no {wrong[0]!r}: whose memory it is comes from the connection.")
        taken: dict[str, str] = {}
        for argument in self.arguments:
            value = given.get(argument.name)
            if value is None and not argument.required:
                continue
            if not isinstance(value, str):
                kind = "nothing" if value is None else type(value).__name__
                raise InvalidInput(f"{self.name} needs {argument.name!r} as a string; it got {kind}.")
            taken[argument.name] = value
        return taken


def _add(memory: Memory, call: Request) -> str:
    result = memory.add(
        call.scope,
        call.arguments["text"],
        actor=call.scope.client_name,
        progress=call.progress,
        deadline=call.deadline,
    )
    return results.added(result)


def _search(memory: Memory, call: Request) -> str:
    return results.found(memory.search(call.scope, call.arguments["query"]), call.scope, max_bytes=call.max_bytes)


def _list(memory: Memory, call: Request) -> str:
    def fetch(cursor: str | None, limit: int) -> "Page":
        return memory.list(call.scope, cursor=cursor, limit=limit)

    return results.listed(fetch, call.arguments.get("cursor"), call.scope, max_bytes=call.max_bytes)


def _delete_all(memory: Memory, call: Request) -> str:
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
        slow=False,
    ),
    ToolSpec(
        "list_memories",
        "List memories",
        READS,
        (Argument("cursor", "Only to go on with a list that was cut short: the cursor of its last element.", False),),
        _list,
        slow=False,
    ),
    ToolSpec(
        "delete_all_memories",
        "Forget everything",
        ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False),
        (),
        _delete_all,
        slow=False,
    ),
)


def offered(settings: Settings) -> dict[str, ToolSpec]:
    """The tools that TOOL_BLACK_LIST leaves, by name, in a fixed order."""
    return {spec.name: spec for spec in TOOLS if spec.name not in settings.tool_black_list}
