"""The one place that builds objects from Settings: lazily, once per process, safe from any thread."""

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from .machine import in_container
from .settings import APP_NAME, ConfigurationError, Settings

if TYPE_CHECKING:  # each of these imports takes longer than a first answer may
    from .memory.service import MemoryService
    from .server.auth.tokens import Tokens
    from .store.session_rows import SessionRows
    from .store.store import TablestoreStore


class Composition:
    """The object graph of one process. Nothing is imported, opened or asked before its first need."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._store: TablestoreStore | None = None
        self._memory: MemoryService | None = None
        self._tokens: Tokens | None = None
        self._renewed: tuple[str, str, str | None] | None = None

    def store(self) -> "TablestoreStore":
        """The store; building it asks no network."""
        with self._lock:
            if self._store is None:
                from .store.store import TablestoreStore

                self._store = TablestoreStore.open(self.settings)
                if self._renewed:
                    self._store.use_credentials(*self._renewed)
            return self._store

    def memory(self) -> "MemoryService":
        """The memory service; building it asks no network, and begins to load what its models need."""
        with self._lock:
            if self._memory is None:
                from .memory.service import MemoryService

                self._memory = MemoryService.from_settings(self.settings, self.store())
                self._memory.begin_loading()
            return self._memory

    def begin_loading(self) -> None:
        """Have the local embedder loaded, if there is one, on threads of their own. Never waits."""
        if self.settings.embedding == "local":
            threading.Thread(target=self.memory, name="begin-loading", daemon=True).start()

    def rows(self) -> "SessionRows":
        """The store's rows that belong to no one's memory."""
        return self.store().sessions

    def tokens(self) -> "Tokens":
        """What mints and checks this deployment's tokens."""
        with self._lock:
            if self._tokens is None:
                from .server.auth.tokens import Tokens

                self._tokens = Tokens(self.settings.auth_secrets, self.rows)
            return self._tokens

    def warm(self, deadline: float) -> None:
        """Do now what the first call would wait for: tables, the local embedder, and every import but Mem0's. Raises a
        ServiceError.

        `deadline`: time.monotonic().
        """
        if self.settings.llm_endpoint or self.settings.embedding == "endpoint":
            import openai  # noqa: F401 - half a second
        self.memory().load(deadline)
        self.store().ensure_tables(deadline)

    def use_credentials(self, access_key_id: str, access_key_secret: str, sts_token: str | None) -> None:
        """The host's newest keys, from the next request to the store on. Keys that the operator set stay.

        Never waits: it is called on the event loop, and building the store takes a while.
        """
        if not self.settings.host_credentials:
            return
        self._renewed = (access_key_id, access_key_secret, sts_token)
        if self._store is not None:  # else store() finds them, which sets the store before it looks
            self._store.use_credentials(*self._renewed)

    def ping(self) -> None:
        """Raises a StoreError if the store cannot be reached."""
        self.store().ping()

    def legacy_notice(self) -> str | None:
        """What release 1.x left and nobody took over, in a sentence; None: nothing. Raises a StoreError."""
        found = self.store().legacy_waiting()
        if found is None:
            return None
        count = f"{'More than ' if found.more else ''}{found.rows:,} memor{'y' if found.rows == 1 else 'ies'}"
        return (
            f"{count} of release 1.x {'is' if count == '1 memory' else 'are'} in table "
            f"{self.settings.tablestore_table_name}; `{APP_NAME} migrate` takes them over."
        )

    def close(self) -> None:
        """Let go of connections, and of the emulator if this process started it."""
        with self._lock:
            if self._memory is not None:
                self._memory.close()
            if self._store is not None:
                self._store.close()


def check_place(settings: Settings) -> None:
    """Refuse to keep memories where they cannot be, or would be lost unnoticed. Raises ConfigurationError.

    A container's or a function's files vanish with it: there the embedded store must be asked for by name.
    """
    if not settings.cloud and settings.store != "embedded" and (settings.fc_function_name or in_container()):
        raise ConfigurationError(
            [
                "TABLESTORE_INSTANCE_NAME is not set, and this is a container, whose files vanish with it: set the "
                "TABLESTORE_ variables, or STORE=embedded with DATA_DIR on a volume."
            ]
        )
    if not settings.cloud:
        _check_folder(settings.data_dir)


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as e:
        raise ConfigurationError([f"DATA_DIR={folder} cannot be used: {e.strerror}."]) from None
