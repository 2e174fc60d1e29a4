"""Whose memory: the one value that says where a memory lives and who may see it."""

import unicodedata
from dataclasses import dataclass

from .unicode_normalization import normalized

MAX_NAME_BYTES = 256  # a Tablestore primary key column holds 1 KB; all of a row's together 1000 B if search-indexed

NAME_RULE = "1 to 256 bytes of UTF-8, without control characters and without '/' (Chinese, spaces and emoji are fine)"


class InvalidName(ValueError):
    """A user id or client name that cannot be one. The text says which, and what is accepted."""


def valid_name(value: str, what: str) -> str:
    """`value` in Unicode NFC. Raises InvalidName, naming `what` ("user_id", "client_name"), if it breaks NAME_RULE."""
    name = normalized("NFC", value)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName(f"{what} holds a lone surrogate; accepted: {NAME_RULE}.") from None
    if not 1 <= size <= MAX_NAME_BYTES:
        raise InvalidName(f"{what} has {size} bytes; accepted: {NAME_RULE}.")
    if not name.strip():
        raise InvalidName(f"{what} is only white space; accepted: {NAME_RULE}.")
    if "/" in name or any(unicodedata.category(c) == "Cc" for c in name):
        raise InvalidName(f"{what} holds a '/' or a control character; accepted: {NAME_RULE}.")
    return name


@dataclass(frozen=True, slots=True)
class Scope:
    """A wall: memories of one scope do not exist in another. Made by the transport, never by a model."""

    user_id: str
    client_name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_id", valid_name(self.user_id, "user_id"))
        object.__setattr__(self, "client_name", valid_name(self.client_name, "client_name"))
