"""Who calls: the values that every transport stamps on each message."""

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
    is_unnamed: bool = False  # the path names no user, so each call must; `scope` serves bounds and logs alone


STDIO = Principal("stdio")


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether `name` fits one of `patterns`, in which only "*" is special (names may hold "[" and "?")."""
    return any(_matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    """A regular expression would try each way to share `name` out among the stars: a minute for a hundred of them.

    Each part may as well stand where it is found first, so that nothing is tried twice.
    """
    first, *parts = pattern.split("*")
    if not parts:
        return pattern == name
    *inner, last = parts
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in inner:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
