"""The processes of a soak: killed and started again, and watched."""

import asyncio
import itertools
import time
from dataclasses import dataclass

from servers import Contender, Process

from support import observed


@dataclass(frozen=True, slots=True)
class Sample:
    """Of the process that lives. `memory`: bytes that would come back if it ended."""

    at: float  # time.monotonic()
    memory: int
    descriptors: int
    threads: int


class Fleet:
    """Processes on fixed ports. The last one is never killed."""

    def __init__(self, contender: Contender, ports: list[int]) -> None:
        self._contender = contender
        self.ports = ports
        self.processes: list[Process] = [contender.start(port) for port in ports]
        self.kills: list[float] = []  # time.monotonic()
        self.restarts: list[float] = []  # seconds until the port was open again
        self.samples: list[Sample] = []

    @property
    def survivor(self) -> Process:
        return self.processes[-1]

    async def kill_in_turn(self, every: float, until: float) -> None:
        for number in itertools.cycle(range(len(self.processes) - 1)):
            await asyncio.sleep(every)
            if time.monotonic() > until:
                return
            self.kills.append(time.monotonic())
            await asyncio.to_thread(self._restart, number)

    def _restart(self, number: int) -> None:
        self.processes[number].kill()
        self.processes[number] = process = self._contender.start(self.ports[number])
        self.restarts.append(time.perf_counter() - process.begin)

    async def watch(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            pid = self.survivor.popen.pid
            self.samples.append(
                Sample(time.monotonic(), observed.memory(pid), observed.descriptors(pid), observed.threads(pid))
            )

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
