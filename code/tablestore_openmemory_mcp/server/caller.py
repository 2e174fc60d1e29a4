"""Who calls: the values that every transport stamps on each message."""

import re
from dataclasses import dataclass
from typing import Literal

from ..scope import Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Who came through the door. Equal principals may use each other's SSE sessions; no one else's."""

    kind: Literal["local", "anonymous", "token", "issuer", "stdio"]
    id: str = ""  # the token's id, or issuer and subject
    users: tuple[str, ...] = ("*",)  # patterns; "*" stands for any characters
    clients: tuple[str, ...] = ("*",)

    def may_use(self, scope: Scope) -> bool:
        return matches(self.users, scope.user_id) and matches(self.clients, scope.client_name)


@dataclass(frozen=True, slots=True)
class Caller:
    """Identity of one message: made by the transport from the URL and the principal, never by a model."""

    scope: Scope
    principal: Principal
    request_id: str


STDIO = Principal("stdio")


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether `name` fits one of `patterns`, in which only "*" is special (names may hold "[" and "?")."""
    return any(
        re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name, re.DOTALL) for pattern in patterns
    )
