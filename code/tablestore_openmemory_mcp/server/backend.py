"""What the server needs of the rest of the program. `composition.Composition` is one."""

from typing import Protocol

from .auth.tokens import Tokens
from .tools.spec import MemoryApi
from .transports.sse.relay_store import Rows


class Backend(Protocol):
    """Every method blocks and is called on a worker thread, at first need; each gives the same object every time."""

    def memory(self) -> MemoryApi:
        """The memory service."""
        ...

    def tokens(self) -> Tokens:
        """What mints and checks this deployment's tokens."""
        ...

    def rows(self) -> Rows:
        """The store's rows that the instances share."""
        ...

    def ping(self) -> None:
        """Raises a StoreError if the store cannot be reached."""
        ...
