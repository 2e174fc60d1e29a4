"""What a command is run with. Everything is built at first need: `connect` must not open a store."""

from collections.abc import Mapping
from functools import cached_property

from ..composition import Composition, check_place
from ..memory.service import MemoryService
from ..settings import Settings
from ..store.store import TablestoreStore
from .terminal import Terminal


class Session:
    """One run of one command. `environ`: the environment that `settings` were read from."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], terminal: Terminal) -> None:
        self.settings = settings
        self.environ = environ
        self.terminal = terminal

    @cached_property
    def composition(self) -> Composition:
        """The object graph. Asks no network; refuses a place where memories would be lost (ConfigurationError)."""
        check_place(self.settings)
        return Composition(self.settings)

    @property
    def store(self) -> TablestoreStore:
        return self.composition.store()

    @property
    def memory(self) -> MemoryService:
        """Works beside a running server: the same store, the same guarantees."""
        return self.composition.memory()

    def close(self) -> None:
        if "composition" in self.__dict__:
            self.composition.close()
