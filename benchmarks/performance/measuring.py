"""How load is made and what is read off it."""

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from client import Failed, Session
from servers import Process

Call = Callable[[Session], Awaitable[object]]


@dataclass(slots=True)
class Load:
    """What came of it. Times in seconds; `elapsed` until the last answer."""

    elapsed: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)  # of the calls that were answered
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers per second. It includes the last calls, when fewer and fewer are under way: a little too low for
        whoever works on many at once."""
        return len(self.latencies) / self.elapsed if self.elapsed else math.nan

    def cpu(self) -> float:
        """Milliseconds of the server process per answer."""
        return 1e3 * self.server_cpu / len(self.latencies) if self.latencies else math.nan

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return 1e3 * percentile(self.latencies, share)


async def closed_loop(
    server: Process, sessions: Sequence[Session], call: Call, *, seconds: float, calls: int | None = None
) -> Load:
    """Each session calls again as soon as it was answered, until `seconds` are over (or `calls` were made by each);
    calls under way then are waited for."""
    load = Load()
    end = time.perf_counter() + seconds
    cpu, own, begin = server.cpu(), time.process_time(), time.perf_counter()

    async def work(session: Session) -> None:
        made = 0
        while time.perf_counter() < end if calls is None else made < calls:
            made += 1
            asked = time.perf_counter()
            try:
                await call(session)
            except (Failed, OSError) as e:
                load.failures.append(str(e))
                await asyncio.sleep(0.05)
                continue
            load.latencies.append(time.perf_counter() - asked)

    await asyncio.gather(*(work(session) for session in sessions))
    load.elapsed = time.perf_counter() - begin
    load.server_cpu, load.client_cpu = server.cpu() - cpu, time.process_time() - own
    return load


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed; NaN of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def median(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN of none."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan
