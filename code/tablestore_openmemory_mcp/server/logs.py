"""Logs: one JSON object per line on stderr. Never a memory's text, a token, a key or a session id.

What our own modules say is written with that in mind. What others log is not: pydantic's errors quote their input, the
MCP SDK names session ids. So of foreign records only where and what kind is printed, never their text.
"""

import contextlib
import contextvars
import hashlib
import hmac
import json
import logging
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType
from typing import Any

from .caller import Caller
from .log_repeats import Repeats

OURS = ("tablestore_openmemory_mcp", "tablestore_emulator")
CALLS = logging.getLogger("tablestore_openmemory_mcp.calls")
PROCESS = logging.getLogger("tablestore_openmemory_mcp.process")

# Of the request that a line was written for; worker threads inherit it.
REQUEST_ID = contextvars.ContextVar("request_id", default="")


class JsonFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self._json = json.JSONEncoder(ensure_ascii=False)  # json.dumps would make one for every line

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
        }
        if request_id := REQUEST_ID.get():
            line["request"] = request_id
        fields = getattr(record, "fields", None)
        if fields is not None:
            line.update(fields)
        elif record.name.startswith(OURS):
            line["message"] = record.getMessage()
        else:
            line["where"] = f"{record.module}:{record.lineno}"
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, trace = record.exc_info
            line["exception"] = f"{kind.__module__}.{kind.__qualname__}"
            line["trace"] = [f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno}" for f in traceback.extract_tb(trace)[-12:]]
        return self._json.encode(line)


def configure(level: str) -> None:
    """Our records from `level` on, others' from WARNING on, to stderr; lines that repeat are counted after a while. An
    exception that nobody handles is told here too."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    PROCESS.setLevel(logging.INFO)  # why it ended is told at every LOG_LEVEL
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        theirs = logging.getLogger(name)
        theirs.handlers.clear()
        theirs.propagate = name != "uvicorn.access"  # access lines hold session ids
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line tells them
    sys.excepthook = _end_unforeseen
    threading.excepthook = _thread_ended


def ending(reason: str, *, finished: int = 0, cut: int = 0) -> None:
    """The last line of a process: why it ends, and what became of the calls that ran when it was told to. `reason` is a
    signal's name or a few words such as "stdin was closed"; nothing personal."""
    PROCESS.info("stopped: %s, %s finished, %d cut off", reason, _calls(finished), cut)
    for handler in logging.root.handlers:
        if isinstance(handler, _Handler):
            handler.tell_the_rest()
        handler.flush()


def _calls(n: int) -> str:
    return "1 call" if n == 1 else f"{n} calls"


class _Handler(logging.StreamHandler[Any]):
    """Says what Repeats lets pass, and how much it did not."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:  # under the handler's lock
        for told in self._repeats.over(record.created):
            super().emit(told)
        # Calls are bounded by who may make them, and each is wanted; of a process there is one end.
        if record.name in (CALLS.name, PROCESS.name) or self._repeats.passes(record):
            super().emit(record)

    def tell_the_rest(self) -> None:
        """What was left out so far."""
        with self.lock or contextlib.nullcontext():
            for told in self._repeats.over(float("inf")):
                super().emit(told)


def _end_unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        ending("SIGINT")
        return
    PROCESS.critical("an exception that nobody handled", exc_info=(kind, error, trace))
    ending(kind.__name__)


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        about = (arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        PROCESS.error("a thread ended by an exception that nobody handled", exc_info=about)


class CallRecord:
    """What one call did, filled in while it runs."""

    def __init__(self) -> None:
        self.outcome = "ok"
        self.queued = 0.0  # seconds until a thread was free
        self._phases: list[tuple[str, float]] = []

    def phase(self, name: str, at: float) -> None:
        """`name` begins at `at` (time.monotonic())."""
        self._phases.append((name, at))

    def milliseconds(self, end: float) -> dict[str, int]:
        """Per phase, in order; the last one ends at `end`."""
        spent: dict[str, int] = {}
        for (name, at), (_, until) in pairwise([*self._phases, ("end", end)]):
            spent[name] = spent.get(name, 0) + round((until - at) * 1000)
        return spent


class CallLog:
    """One line per call. Users and clients appear as keyed hashes."""

    def __init__(self, secret: str | None = None) -> None:
        """With the same `secret` in every process, lines of all of them can be put together."""
        self._key = hashlib.sha256(b"log\0" + secret.encode()).digest() if secret else secrets.token_bytes(16)

    @contextlib.contextmanager
    def call(self, caller: Caller, tool: str) -> Iterator[CallRecord]:
        """Log the call that happens inside, however it ends."""
        record, began = CallRecord(), time.monotonic()
        try:
            yield record
        except BaseException as e:
            record.outcome = "cancelled" if type(e).__name__ == "CancelledError" else type(e).__name__
            raise
        finally:
            now = time.monotonic()
            fields = {
                "request": caller.request_id,
                "user": self.hashed(caller.scope.user_id),
                "client": self.hashed(caller.scope.client_name),
                "tool": tool,
                "ms": round((now - began) * 1000),
                "queued_ms": round(record.queued * 1000),
                "phases_ms": record.milliseconds(now),
                "outcome": record.outcome,
            }
            _tell(fields)

    def hashed(self, name: str) -> str:
        return hmac.digest(self._key, name.encode(), "sha256").hex()[:12]


def _tell(fields: dict[str, Any]) -> None:
    """As CALLS.info does, which would also look through the stack for the place that no line of a call tells."""
    if CALLS.isEnabledFor(logging.INFO):
        CALLS.handle(
            CALLS.makeRecord(CALLS.name, logging.INFO, __file__, 0, "call", (), None, extra={"fields": fields})
        )
