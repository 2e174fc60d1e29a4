"""What a tool is: its name, what it takes, and what it asks of the memory service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mcp_types import Tool, ToolAnnotations

from ...errors import InvalidInput
from ...scope import Scope
from ...settings import Settings

if TYPE_CHECKING:  # memory's model needs numpy, which the first answer must not wait for
    from collections.abc import Sequence

    from ...memory.model import AddResult, Hit, Outcome, Page, Progress
    from ...store.model import HistoryEntry, Memory

# Which user is meant comes from the connection. A model that passes one of these would believe it had been heeded.
IDENTITY_ARGUMENTS = frozenset({"user_id", "client_name", "agent_id", "run_id", "app_id", "actor_id"})


class MemoryApi(Protocol):
    """What the server asks of the memory service (memory/service.py). Blocking: called on worker threads only."""

    def add(
        self,
        scope: Scope,
        text: str,
        *,
        actor: str | None = None,
        progress: "Progress | None" = None,
        deadline: float | None = None,
        expires_at: int | None = None,
    ) -> "AddResult": ...
    def search(self, scope: Scope, query: str, *, limit: int | None = None) -> "Sequence[Hit]": ...
    def list(self, scope: Scope, *, cursor: str | None = None, limit: int | None = None) -> "Page": ...
    def delete_all(self, scope: Scope) -> int: ...
    def get(self, scope: Scope, memory_id: str) -> "Memory | None": ...
    def update(
        self,
        scope: Scope,
        memory_id: str,
        text: str,
        *,
        actor: str | None = None,
        expires_at: int | None = None,
        deadline: float | None = None,
    ) -> "Outcome": ...
    def delete(
        self, scope: Scope, ids: "Sequence[str]", *, actor: str | None = None, deadline: float | None = None
    ) -> "Sequence[Outcome]": ...
    def history(self, scope: Scope, memory_id: str) -> "Sequence[HistoryEntry]": ...


@dataclass(frozen=True, slots=True)
class Request:
    """One tool call, checked: what a tool's function gets on its worker thread."""

    scope: Scope
    arguments: Mapping[str, Any]  # of the types that the tool's Arguments say
    progress: "Progress"
    deadline: float  # time.monotonic()
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Argument:
    """A string, or with `many` a list of strings."""

    name: str
    description: str
    required: bool = True
    many: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        kind: dict[str, Any] = {"type": "array", "items": {"type": "string"}} if self.many else {"type": "string"}
        return {**kind, "description": self.description}

    def fits(self, value: Any) -> bool:
        if self.many:
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        return isinstance(value, str)


@dataclass(frozen=True, slots=True)
class ToolSpec:
    name: str
    title: str
    annotations: ToolAnnotations
    arguments: tuple[Argument, ...]
    run: Callable[[MemoryApi, Request], str]
    slow: bool = False  # waits for an LLM: has its own pool
    description: str = ""  # "": the operator's, TOOL_<NAME>_DESCRIPTION

    def tool(self, settings: Settings) -> Tool:
        """As tools/list shows it."""
        user_id = Argument("user_id", settings.tool_user_id_field_description, False)
        arguments = (*self.arguments, user_id) if settings.tool_user_id_argument else self.arguments
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description or getattr(settings, f"tool_{self.name}_description"),
            input_schema={
                "type": "object",
                "properties": {a.name: a.schema for a in arguments},
                "required": [a.name for a in arguments if a.required],
            },
            annotations=self.annotations,
        )

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `given` that this tool takes. Raises InvalidInput.

        Others are ignored: some clients send a dummy to tools without arguments. But not those that name a user.
        """
        if wrong := sorted(name for name in IDENTITY_ARGUMENTS if given.get(name) is not None):
            raise InvalidInput(f"{self.name} takes no {wrong[0]!r}: whose memory it is comes from the connection.")
        taken: dict[str, Any] = {}
        for argument in self.arguments:
            value = given.get(argument.name)
            if value is None and not argument.required:
                continue
            if not argument.fits(value):
                wanted = "a list of strings" if argument.many else "a string"
                kind = "nothing" if value is None else type(value).__name__
                raise InvalidInput(f"{self.name} needs {argument.name!r} as {wanted}; it got {kind}.")
            taken[argument.name] = value
        return taken
