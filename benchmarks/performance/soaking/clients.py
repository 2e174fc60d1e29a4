"""The sessions of a soak: what they call, what was acknowledged, and what went wrong."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from client import Failed, HttpSession, Refused, Session, SseSession
from texts import correction, note, query

PATIENCE = 60.0  # seconds; clients give up then
NOTES = 60  # of one user; later adds correct what is there, so that the data grows no more
TOOLS = ("search_memories",) * 12 + ("add_memories",) * 5 + ("list_memories",) * 3
CLIENT = "cline"


@dataclass(frozen=True, slots=True)
class Failure:
    at: float  # time.monotonic()
    began: float
    tool: str
    refused: bool  # the server answered with an error; else the connection, the stream or the wait ended
    text: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One change that the server said it has made."""

    user: str
    memory: str
    event: str
    text: str


@dataclass(slots=True)
class Soaking:
    """What all sessions share. `end`: time.monotonic()."""

    port: int
    users: int
    end: float
    pause: float
    elapsed: float = 0.0
    notes: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    acknowledged: list[Acknowledged] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    sessions_opened: int = 0


async def live(soaking: Soaking, number: int) -> None:
    """One session: call, pause, call; connect again when the connection is gone. Every fourth one speaks HTTP."""
    user, chance = f"user{number % soaking.users}", random.Random(number)
    session: Session | None = None
    await asyncio.sleep(chance.random() * soaking.pause)
    while time.monotonic() < soaking.end:
        began, tool = time.monotonic(), "open"
        try:
            if session is None:
                session = await _opened(soaking, user, number)
            tool = chance.choice(TOOLS)
            await _call(soaking, session, user, tool)
            soaking.latencies.setdefault(tool, []).append(time.monotonic() - began)
        except (Failed, OSError) as e:
            refused = isinstance(e, Refused)
            soaking.failures.append(Failure(time.monotonic(), began, tool, refused, str(e) or type(e).__name__))
            if session is not None and not refused:
                session.close()
                session = None
        await asyncio.sleep(chance.uniform(0.5, 1.5) * soaking.pause)
    if session is not None:
        session.close()


async def _opened(soaking: Soaking, user: str, number: int) -> Session:
    if number % 4 == 3:
        return HttpSession(soaking.port, f"/mcp/{CLIENT}/http/{user}", PATIENCE)
    soaking.sessions_opened += 1
    return await SseSession.open(soaking.port, f"/mcp/{CLIENT}/sse/{user}", PATIENCE)


async def _call(soaking: Soaking, session: Session, user: str, tool: str) -> None:
    if tool == "search_memories":
        await session.tool(tool, query=query())
    elif tool == "list_memories":
        await session.tool(tool)
    else:
        new = soaking.notes[user] < NOTES
        soaking.notes[user] += new
        answer = json.loads(await session.tool(tool, text=note() if new else correction()))
        for change in answer["results"]:
            if change["event"] in ("ADD", "UPDATE"):
                soaking.acknowledged.append(Acknowledged(user, change["id"], change["event"], change["memory"]))
