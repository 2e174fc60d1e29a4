"""Serves the APIs over HTTP: authenticates, applies faults, and answers only what is committed.

Everything the event loop finds ready in one turn is one transaction of the storage (group commit): no answer leaves
before its commit, not even a read's, because it may have seen what another request of the same turn wrote.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from tablestore.protobuf import table_store_pb2 as pb

from ..api import Api
from ..auth import Authenticator, Caller, md5, sign_response
from ..engine import Engine
from ..errors import OtsError
from ..faults import Faults, Rule
from .admin import Admin
from .connection import Connection, Request

_log = logging.getLogger(__name__)
BACKLOG = 2048  # 1,000 clients may connect at once
_UNWRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
_READS = ("Get", "BatchGet", "List", "Describe", "Search")


@dataclass(slots=True)
class _Answer:
    """One answer, held back until what it rests on is committed."""

    connection: Connection
    api: str
    path: str
    caller: Caller | None
    status: int
    body: bytes
    rule: Rule | None
    as_json: bool = False  # the managed APIs speak JSON, also in errors; there are only errors here

    def fail(self, error: OtsError) -> None:
        """Make it the answer to a call that failed."""
        self.status = error.status
        if self.as_json:
            self.body = json.dumps({"code": error.code, "message": error.message}).encode()
        else:
            self.body = pb.Error(code=error.code, message=error.message).SerializeToString()


class Server:
    """One emulator on one port."""

    def __init__(self, engine: Engine, api: Api, auth: Authenticator, faults: Faults) -> None:
        self._engine = engine
        self._api = api
        self._auth = auth
        self._faults = faults
        self._held: list[_Answer] = []
        self._connections: set[Connection] = set()
        self._all_closed = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self.calls: Counter[str] = Counter()
        self._admin = Admin(auth, faults, self.calls)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port (another one for 0)."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connect, host, port, backlog=BACKLOG)
        return int(self._listener.sockets[0].getsockname()[1])

    def _connect(self) -> Connection:
        return Connection(self._serve, self._connections.add, self._disconnected)

    def _disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    async def stop(self, grace: float = 5.0) -> None:
        """Answer what is being served (for `grace` seconds at most), then close every connection."""
        self._all_closed.clear()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.finish()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), grace)
        for connection in list(self._connections):
            connection.drop()

    def _serve(self, connection: Connection, request: Request) -> None:
        if self._admin.owns(request.path):
            connection.answer(*self._admin.handle(request))
            return
        api = request.path.lstrip("/")
        if api in self._api:
            self.calls[api] += 1
        rule = self._faults.pick(api)
        if rule is not None and rule.when == "before" and rule.delay:
            asyncio.get_running_loop().call_later(rule.delay, self._run, connection, request, api, rule)
        else:
            self._run(connection, request, api, rule)

    def _run(self, connection: Connection, request: Request, api: str, rule: Rule | None) -> None:
        before = rule is not None and rule.when == "before"
        if rule is not None and before and rule.drop:
            connection.drop()
            return
        answer = _Answer(connection, api, request.path, None, 200, b"", rule)
        answer.as_json = request.headers.get("content-type", "").startswith("application/json")
        try:
            answer.caller = self._authenticate(request)
            answer.body = self._body(api, request.body, rule if before else None)
        except OtsError as e:
            answer.fail(e)
        except Exception as e:
            held, self._held = self._held, []
            self._give_up([*held, answer], e)
            return
        if not self._engine.storage.dirty and not self._held:
            self._send(answer)
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(answer)

    def _body(self, api: str, body: bytes, rule: Rule | None) -> bytes:
        if rule is not None and rule.error:
            raise OtsError(rule.error, rule.message)
        return self._api.handle(api, body)

    def _authenticate(self, request: Request) -> Caller:
        if request.method != "POST":
            raise OtsError("OTSMethodNotAllowed")
        if request.too_large:
            raise OtsError("OTSRequestBodyTooLarge")
        return self._auth.authenticate(request.path, request.headers, request.body)

    def _flush(self) -> None:
        held, self._held = self._held, []
        try:
            self._engine.storage.commit()
        except sqlite3.Error as e:
            self._give_up(held, e)
            return
        for answer in held:
            self._send(answer)

    def _give_up(self, answers: list[_Answer], cause: Exception) -> None:
        """Something broke the transaction: nothing of it happened, and everybody in it is told so."""
        self._engine.forget()
        broken = to_writers = OtsError("OTSInternalServerError")
        if isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode & 0xFF in _UNWRITABLE:
            # It does not pass by itself, so it is none of the errors after which clients try again for a while.
            _log.error("The data directory cannot be written: %s.", cause)
            to_writers = OtsError("OTSQuotaExhausted", f"The data directory cannot be written: {cause}.")
        else:
            _log.error("%s failed", ", ".join(answer.api for answer in answers), exc_info=cause)
        for answer in answers:
            answer.fail(broken if answer.api.startswith(_READS) else to_writers)
            self._send(answer)

    def _send(self, answer: _Answer) -> None:
        rule = answer.rule
        if rule is None or rule.when == "before":
            self._write(answer)
        elif rule.delay:
            asyncio.get_running_loop().call_later(rule.delay, self._spoil, answer, rule)
        else:
            self._spoil(answer, rule)

    def _spoil(self, answer: _Answer, rule: Rule) -> None:
        if rule.drop:
            answer.connection.drop()
            return
        if rule.error and answer.status == 200:
            answer.fail(OtsError(rule.error, rule.message))
        self._write(answer)

    def _write(self, answer: _Answer) -> None:
        now = datetime.fromtimestamp(self._engine.clock(), UTC)
        headers = {
            "x-ots-contentmd5": md5(answer.body),
            "x-ots-contenttype": "protocol buffer",
            "x-ots-date": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "x-ots-requestid": str(uuid.uuid4()),
        }
        if answer.caller is not None:
            headers["Authorization"] = sign_response(answer.caller, answer.path, headers)
        _log.debug("%s %s", answer.api, answer.status)
        answer.connection.answer(answer.status, headers, answer.body)
