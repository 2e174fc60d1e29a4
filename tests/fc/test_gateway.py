"""A function whose platform freezes, recycles, cuts, renews and refuses, and clients that work through it all."""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import httpx
import pytest

from support.clients import MemoryClient, ToolFailed, over_http, over_sse
from support.emulator import Emulator
from support.function_compute import MINT_KEY, Instance, Role, free_port, python_path, tablestore
from support.function_compute_gateway import Gateway, Running, serving
from support.processes import wait_until
from tablestore_openmemory_mcp.server.transports.sse.endpoint import PING_INTERVAL

pytestmark = pytest.mark.slow

MINUTE = 60.0  # seconds of this test; an hour of the platform's
STREAM_LIFE = 12.0  # the function's timeout
KEYS_LIVE, KEYS_RENEWED = 30.0, 6.0  # longer than a stream, as on the platform: 36 h and 24 h
RECYCLED_EVERY = 7.0

Connect = Callable[[], AbstractContextManager[MemoryClient]]


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    # On a port of its own, where it can be found again after a restart.
    with Emulator(tmp_path / "data", options=["--port", str(free_port())]) as running:
        yield running


class Function:
    """A deployed function: its instances share a store, a role and a log."""

    def __init__(self, unpacked: Path, python: Path, emulator: Emulator, folder: Path, lifetime: float = 3600) -> None:
        self.role = Role(emulator, lifetime)
        self._bootstrap = unpacked / "bootstrap"
        self._path = python_path(python)
        self.variables = tablestore(emulator) | {"MEMORY_PIPELINE": "verbatim"}
        self._folder = folder
        self._numbers = itertools.count()

    def instance(self) -> Instance:
        log = self._folder / f"instance-{next(self._numbers)}.log"
        return Instance(self._bootstrap, log, self.role, path=self._path, **self.variables)

    @property
    def logs(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in self._folder.glob("instance-*.log"))


@pytest.fixture
def function(unpacked: Path, python312: Path, emulator: Emulator, tmp_path: Path) -> Function:
    return Function(unpacked, python312, emulator, tmp_path, KEYS_LIVE)


def token(running: Running) -> dict[str, str]:
    """A header with a token as the operator gets one, by `s invoke`."""
    minted = running.do(running.gateway.invoke, {"action": "token", "key": MINT_KEY, "user": "alice"})["result"]
    return {"Authorization": f"Bearer {minted['token']}"}


class Worker(threading.Thread):
    """A client that goes on remembering, and reconnects whenever it must."""

    def __init__(self, name: str, connect: Connect, until: float) -> None:
        super().__init__(name=name, daemon=True)
        self.kept: list[str] = []  # what was acknowledged
        self.missed: list[str] = []  # what was acknowledged and then not there
        self.interruptions: Counter[str] = Counter()
        self._connect = connect
        self._until = until
        self._pause = random.Random(name)

    def run(self) -> None:
        numbers = itertools.count()
        text = self._text(next(numbers))
        while time.monotonic() < self._until:
            try:
                with self._connect() as client:
                    while time.monotonic() < self._until:
                        client.add(text)  # again, if the last answer was lost: the same words are stored once
                        self.kept.append(text)
                        self.missed += {text} - set(client.texts())
                        text = self._text(next(numbers))
                        time.sleep(self._pause.uniform(0, 0.5))  # idle enough to be frozen
            except ToolFailed as e:
                self.interruptions[str(e)] += 1
            except BaseException as e:  # a cut stream comes as a group of anything
                self.interruptions[type(e).__name__] += 1

    def _text(self, number: int) -> str:
        return f"{self.name} learnt thing number {number}"


def test_an_hour_in_a_minute(function: Function) -> None:
    gateway = Gateway(function.instance, function.role, timeout=STREAM_LIFE)
    with serving(gateway, instances=3) as running:
        headers = token(running)
        until = time.monotonic() + MINUTE
        workers = [
            Worker(f"{kind}-{n}", partial(over, f"{running.url}/mcp/cline/{kind}/alice", headers), until)
            for n in range(2)
            for kind, over in (("sse", over_sse), ("http", over_http))
        ]
        for worker in workers:
            worker.start()
        renew = recycle = time.monotonic()
        while time.monotonic() < until:
            if time.monotonic() - renew > KEYS_RENEWED:
                renew = time.monotonic()
                function.role.renew()
            if time.monotonic() - recycle > RECYCLED_EVERY:
                recycle = time.monotonic()
                running.do(gateway.recycle_oldest)
            time.sleep(0.1)
        for worker in workers:
            worker.join(120)
            assert not worker.is_alive()
        with over_http(f"{running.url}/mcp/cline/http/alice", headers) as client:
            stored = client.texts()
        print(gateway.counts, {w.name: (len(w.kept), dict(w.interruptions)) for w in workers})
    kept = [text for worker in workers for text in worker.kept]
    assert set(kept) <= set(stored)
    assert len(stored) == len(set(stored))
    assert [text for worker in workers for text in worker.missed] == []
    assert all(len(worker.kept) >= 10 for worker in workers)
    assert min(gateway.counts[what] for what in ("frozen", "recycled", "cut")) > 0
    assert function.role.token not in function.logs


def test_over_the_concurrency_limit_is_refused_and_recovers(function: Function) -> None:
    gateway = Gateway(function.instance, function.role, concurrency=2, max_instances=1)
    with serving(gateway) as running:
        url, headers = f"{running.url}/mcp/cline/sse/alice", token(running)
        with over_sse(url, headers) as client:  # one stream, and one more request at a time
            client.add("one stream is one unit of concurrency")
            with httpx.stream("GET", url, headers=headers, timeout=60) as second:
                assert second.status_code == 200
                assert httpx.get(f"{running.url}/healthz", timeout=60).status_code == 429
            wait_until(lambda: httpx.get(f"{running.url}/healthz", timeout=60).status_code == 200, 30)
            assert client.texts() == ["one stream is one unit of concurrency"]


def test_the_platform_s_affinity_on_its_one_fixed_path(function: Function) -> None:
    """The alternative to the relay: MCP_SSE, which knows the path /sse only, so the identity is in headers."""
    function.variables["SSE_RELAY"] = "off"
    gateway = Gateway(function.instance, function.role, routing="affinity")
    with serving(gateway, instances=2) as running:
        headers = token(running) | {"X-User-Id": "alice", "X-Client-Name": "cline"}
        for n in range(4):
            with over_sse(f"{running.url}/sse", headers) as client:
                client.add(f"connection {n}")
        with over_http(f"{running.url}/mcp", headers) as client:
            assert client.texts() == [f"connection {n}" for n in (3, 2, 1, 0)]


def test_a_frozen_instance_goes_on_where_it_was(function: Function, emulator: Emulator) -> None:
    """Frozen while others wrote, the store restarted and the keys changed: its cache, sockets and keys are stale."""
    gateway = Gateway(function.instance, function.role)
    with serving(gateway, instances=2) as running:
        url, headers = f"{running.url}/mcp/cline/http/alice", token(running)
        with over_http(url, headers) as client:
            for n in range(6):  # both instances have the scope in their caches
                client.add(f"before {n}")
            emulator.stop()
            emulator.start()
            function.role.renew()
            for n in range(6):
                client.add(f"after {n}")
                assert client.texts()[0] == f"after {n}"
            assert len(client.texts()) == 12
    assert "Traceback" not in function.logs


def test_timers_do_not_fire_in_a_burst_after_a_freeze(function: Function) -> None:
    """A stream's pings are due twice over when its instance thaws; one is sent, and calls go on."""
    with function.instance() as instance:
        minted = instance.invoke({"action": "token", "key": MINT_KEY, "user": "alice"})["result"]["token"]
        headers = {"Authorization": f"Bearer {minted}"} | instance.headers("/http-invoke")
        lines: list[str] = []
        with httpx.stream("GET", f"{instance.url}/mcp/cline/sse/alice", headers=headers, timeout=120) as stream:
            reader = threading.Thread(target=collect, args=(stream, lines), daemon=True)
            reader.start()
            wait_until(lambda: "event: endpoint" in lines, 30)
            instance.freeze()
            time.sleep(2.5 * PING_INTERVAL)
            instance.thaw()
            wait_until(lambda: pings(lines) > 0, 30)
            function.role.renew()  # the keys died during the freeze
            headers |= instance.headers("/http-invoke")
            with over_http(f"{instance.url}/mcp/cline/http/alice", headers) as client:
                client.add("said right after the thaw")
                assert client.texts() == ["said right after the thaw"]
            assert pings(lines) == 1
            instance.kill()
            reader.join(30)


def collect(stream: httpx.Response, lines: list[str]) -> None:
    with contextlib.suppress(httpx.TransportError):
        lines.extend(stream.iter_lines())  # as they come


def pings(lines: list[str]) -> int:
    return sum(line.startswith(": ping") for line in lines)


def test_headers_of_the_platform_are_the_platform_s(function: Function) -> None:
    with serving(Gateway(function.instance, function.role)) as running:
        forged = httpx.get(f"{running.url}/healthz", headers={"x-fc-control-path": "/invoke"}, timeout=60)
        assert forged.status_code == 400
