"""What the relay tells a client while the store loses requests and answers: 202 only for what is run, or whose stream
is cut; 404 only for what never is; else that it is not known. Two relays of this process, on a real emulator.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from support.emulator import Emulator
from support.inprocess import settings
from support.processes import tablestore_environ
from support.wire import call, until
from tablestore_openmemory_mcp.errors import ServiceError
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.server.caller import Caller, Principal
from tablestore_openmemory_mcp.server.transports.sse import relay_store as inbox
from tablestore_openmemory_mcp.server.transports.sse.relay import Relay
from tablestore_openmemory_mcp.server.transports.sse.relay_store import Unsettled
from tablestore_openmemory_mcp.server.transports.sse.sessions import Session, Sessions
from tablestore_openmemory_mcp.store.store import TablestoreStore

pytestmark = pytest.mark.anyio

ALICE = Caller(Scope("alice", "cline"), Principal("local"), "")


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture(scope="module")
def store(emulator: Emulator) -> Iterator[TablestoreStore]:
    opened = TablestoreStore.open(settings(tablestore_environ(emulator) | {"MEMORY_PIPELINE": "verbatim"}))
    opened.ensure_tables()
    yield opened
    opened.close()


@dataclass
class Pair:
    """A relay that holds a stream, and another one that is to hand messages to it."""

    session: Session
    sender: Relay

    async def forward(self, n: int) -> str:
        """ "taken", "gone", "unsettled" or "nothing done"."""
        body = str(call(n, "list_memories")).replace("'", '"').encode()
        try:
            return await self.sender.forward(self.session.id, ALICE.principal, body, f"r{n}")
        except Unsettled:
            return "unsettled"
        except ServiceError:
            return "nothing done"

    def delivered(self) -> list[int]:
        """Which messages the session has got since it was last asked."""
        got: list[Any] = []
        with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
            while True:
                got.append(self.session._from_client.receive_nowait().message.id)  # type: ignore[union-attr]
        return got

    @property
    def cut(self) -> bool:
        return self.session.scope.cancel_called


@contextlib.asynccontextmanager
async def pair(store: TablestoreStore) -> AsyncIterator[Pair]:
    given = settings({"MAX_CALLS_PER_SESSION": "1000"})
    sessions = Sessions(given)
    holder, sender = Relay(lambda: store.sessions, sessions), Relay(lambda: store.sessions, Sessions(given))
    async with holder.running():
        with sessions.open(ALICE) as session:
            async with holder.announced(session):
                yield Pair(session, sender)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PATIENCE": 0.4, "DEADLINE": 0.3, "UNCLEAR": 0.8, "SLOW": 0.1}.items():
        monkeypatch.setattr(inbox, name, seconds)


@contextlib.contextmanager
def faults(emulator: Emulator, *rules: dict[str, object], seed: int = 0) -> Iterator[None]:
    emulator.set_faults(seed=seed, rules=list(rules))
    try:
        yield
    finally:
        emulator.clear_faults()


def lost(*apis: str, **more: object) -> dict[str, object]:
    return {"apis": apis, "drop": True, **more}


async def test_a_withdrawal_that_is_never_settled_is_no_acceptance(
    hasty: None, emulator: Emulator, store: TablestoreStore
) -> None:
    """Issue: with the withdrawal and its settling read both lost, the sender was told 202, and nobody ran it."""
    async with pair(store) as two:
        assert await two.forward(0) == "taken"
        # The holder reads with GetRange and sees nothing; the sender withdraws (UpdateRow) and settles (GetRow).
        with faults(emulator, lost("GetRange"), lost("UpdateRow"), lost("GetRow", skip=3)):
            assert await two.forward(1) == "unsettled"
        await anyio.sleep(0.5)
        assert two.delivered().count(1) <= 1


async def test_a_withdrawal_that_lost_the_race_is_no_acceptance(
    hasty: None, emulator: Emulator, store: TablestoreStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder says "gone" at the moment at which the sender withdraws: not "new" any more is not yet "taken"."""
    async with pair(store) as two:
        with faults(emulator, lost("GetRange")):
            original = inbox.RelayStore._moved

            async def late(self: inbox.RelayStore, instance: str, n: int, state: inbox.Written) -> inbox.Written | None:
                await original(self, instance, n, "gone")
                return await original(self, instance, n, state)

            monkeypatch.setattr(inbox.RelayStore, "_moved", late)
            assert await two.forward(1) == "gone"
        assert two.delivered() == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_claim_whose_answer_is_lost_is_settled(
    hasty: None, emulator: Emulator, store: TablestoreStore, when: str
) -> None:
    async with pair(store) as two:
        with faults(emulator, lost("UpdateRow", when=when, times=1)):
            assert await two.forward(1) == "taken"
        await anyio.sleep(0.2)
        assert two.delivered() == [1]


async def test_a_claim_that_is_never_settled_cuts_the_stream(
    hasty: None, emulator: Emulator, store: TablestoreStore
) -> None:
    """The claim took effect, but its holder never learns it; its sender does, and answers 202."""
    async with pair(store) as two:
        with faults(emulator, lost("UpdateRow", when="after"), lost("GetRow", skip=1, when="before", delay=0.05)):
            told = await two.forward(1)

            async def settled() -> bool:
                return two.cut or bool(two.delivered())

            await until(settled, 20)
        assert told in ("taken", "unsettled")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_lost_nobody_is_told_what_is_not_so(
    hasty: None, emulator: Emulator, store: TablestoreStore, seed: int
) -> None:
    apis = ("GetRow", "UpdateRow", "PutRow", "GetRange", "BatchWriteRow")
    told: dict[int, str] = {}
    async with pair(store) as two:

        async def send(n: int) -> None:
            told[n] = await two.forward(n)

        likely = 0.2 + 0.05 * seed
        rules = [lost(*apis, when=when, probability=likely / 2) for when in ("before", "after")]
        with faults(emulator, *rules, seed=seed):
            async with anyio.create_task_group() as tasks:
                for n in range(1, 9):
                    tasks.start_soon(send, n)
        await anyio.sleep(1.0)  # what was on its way arrives
        got = two.delivered()
        for n, delivery in told.items():
            if delivery == "taken":
                assert got.count(n) == 1 or two.cut
            else:
                assert got.count(n) <= (1 if delivery == "unsettled" else 0), (n, delivery)
