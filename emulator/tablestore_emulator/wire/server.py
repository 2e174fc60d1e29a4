"""Serves the APIs over HTTP: authenticates, applies faults, and answers only what is committed.

Everything the event loop finds ready in one turn is one transaction of the storage (group commit): no answer leaves
before its commit, not even a read's, because it may have seen what another request of the same turn wrote.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from tablestore.protobuf import table_store_pb2 as pb

from ..errors import OtsError
from ..faults import Faults, Rule
from ..protocol.api import Api
from ..protocol.auth import Authenticator, Caller, md5, sign_response
from ..search.service.loading import Loading, NotLoaded
from ..storage.engine import UNWRITABLE, Engine
from ..storage.sqlite_storage import UNWRITABLE as UNWRITABLE_CODES
from ..storage.upkeep import Upkeep
from .admin import Admin
from .connection import Connection, Request

_log = logging.getLogger(__name__)
_LOADS_FOR = 0.005  # seconds of a turn of the event loop that go into reading an index
BACKLOG = 2048  # 1,000 clients may connect at once
DAMAGED = "OTSDataDamaged"  # no code of the service's: it does not lose its files
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
    given: bytes | None = None  # the request's body, once it was taken
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
        self._admin = Admin(auth, faults, self.calls, api.units)
        self._upkeep = Upkeep(engine.storage)
        self._caretaker: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port (another one for 0)."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connect, host, port, backlog=BACKLOG)
        self._caretaker = loop.create_task(self._take_care())
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
        if self._caretaker is not None:
            self._caretaker.cancel()
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.finish()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), grace)
        for connection in list(self._connections):
            connection.drop()

    async def _take_care(self) -> None:
        while True:
            await asyncio.sleep(Upkeep.PERIOD)
            if not self._held and not self._engine.storage.dirty:
                self._upkeep.tick(time.monotonic())

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
            answer.body = self._body(answer, request.body, rule if before else None)
        except OtsError as e:
            answer.fail(e)
        except NotLoaded as unready:
            unready.loading.waiting.append(partial(self._run, connection, request, api, rule))
            if len(unready.loading.waiting) == 1:
                asyncio.get_running_loop().call_soon(self._load, unready.loading)
            return
        except Exception as e:
            held, self._held = self._held, []
            self._recover([*held, answer], e)
            return
        if not self._engine.storage.dirty and not self._held:
            self._send(answer)
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self._flush)
        self._held.append(answer)

    def _body(self, answer: _Answer, body: bytes, rule: Rule | None) -> bytes:
        if rule is not None and rule.error:
            raise OtsError(rule.error, rule.message)
        if self._engine.storage.damage:
            raise OtsError(DAMAGED, str(self._engine.storage.damage))
        answer.given = body
        return self._api.handle(answer.api, body, may_wait=True)

    def _load(self, loading: Loading) -> None:
        """Read a little of an index between two turns of the event loop; then have those who wait ask again."""
        loop = asyncio.get_running_loop()
        if loading.step(_LOADS_FOR):
            for again in loading.waiting:
                loop.call_soon(again)
        else:
            loop.call_soon(self._load, loading)

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
        except Exception as e:
            self._recover(held, e)
            return
        self._upkeep.wrote(time.monotonic())
        for answer in held:
            self._send(answer)

    def _recover(self, answers: list[_Answer], cause: Exception) -> None:
        """Something broke the transaction: nothing of it happened. Do it again if there can be room, else say so."""
        storage = self._engine.storage
        try:
            while not storage.is_damage(cause):
                self._engine.forget()
                if not (_is_unwritable(cause) and storage.reserve.release()):
                    break
                _log.warning("The disk is full: reserved space was given back. Deleting works; little else does.")
                failed = self._again(answers)
                if failed is None:
                    for answer in answers:
                        self._send(answer)
                    return
                cause = failed
        except Exception as e:  # what is damaged cannot be read anew either
            storage.is_damage(e)
            cause = e
        self._give_up(answers, cause)

    def _again(self, answers: list[_Answer]) -> Exception | None:
        """What went wrong this time."""
        try:
            for answer in answers:
                if answer.given is not None:
                    try:
                        answer.status, answer.body = 200, self._api.handle(answer.api, answer.given)
                    except OtsError as e:
                        answer.fail(e)
            self._engine.storage.commit()
        except Exception as e:
            return e
        return None

    def _give_up(self, answers: list[_Answer], cause: Exception) -> None:
        damage = self._engine.storage.damage
        broken = to_writers = OtsError("OTSInternalServerError")
        if damage:
            _log.error("%s", damage)
            broken = to_writers = OtsError(DAMAGED, str(damage))
        elif _is_unwritable(cause):
            # It does not pass by itself, so it is none of the errors after which clients try again for a while.
            _log.error("The data directory cannot be written: %s.", cause)
            to_writers = OtsError("OTSQuotaExhausted", f"{UNWRITABLE}: {cause}.")
        else:
            _log.error("%s failed", ", ".join(answer.api for answer in answers), exc_info=cause)
        for answer in answers:
            if answer.given is not None:
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


def _is_unwritable(cause: Exception) -> bool:
    return isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF in UNWRITABLE_CODES
