"""The pool of threads: its bounds, and what a cancelled caller gets."""

import contextvars
import threading

import anyio
import pytest

from tablestore_openmemory_mcp.errors import Busy
from tablestore_openmemory_mcp.server.tools.workers import Workers

pytestmark = pytest.mark.anyio
ASKED_BY: contextvars.ContextVar[str] = contextvars.ContextVar("asked_by", default="")


class Held:
    """Work that says when it begins, and goes on when it is let."""

    def __init__(self) -> None:
        self.begun, self.done = 0, 0
        self.began, self.let_go = threading.Semaphore(0), threading.Event()

    def __call__(self) -> str:
        self.begun += 1
        self.began.release()
        assert self.let_go.wait(30)
        self.done += 1
        return ASKED_BY.get()

    async def wait(self) -> None:
        await anyio.to_thread.run_sync(self.began.acquire)


@pytest.mark.parametrize(("size", "queue"), [(1, 0), (1, 3), (4, 2)])
async def test_so_many_run_so_many_wait_and_the_next_is_refused(size: int, queue: int) -> None:
    pool, held, answers = Workers(size, queue), Held(), []

    async def ask(name: str) -> None:
        ASKED_BY.set(name)
        answers.append((await pool.run(held))[0])

    async with anyio.create_task_group() as tasks:
        for n in range(size + queue):
            tasks.start_soon(ask, f"{n}")
        for _ in range(size):
            await held.wait()
        with pytest.raises(Busy):
            await pool.run(held)
        assert held.begun == size
        held.let_go.set()
    assert sorted(answers) == sorted(f"{n}" for n in range(size + queue))  # each in its caller's context
    text, waited = await pool.run(lambda: "free again")
    assert text == "free again"
    assert waited >= 0


async def test_a_cancelled_caller_frees_its_place_only_when_its_work_has_ended() -> None:
    pool, held, never = Workers(1, 1), Held(), Held()
    left = anyio.Event()

    async def ask() -> None:
        try:
            await pool.run(held)
        finally:
            assert held.done == 1
            left.set()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as waiting:
            tasks.start_soon(ask)
            await held.wait()
            waiting.cancel()  # of one that has no thread yet: it is gone at once, and never runs
            await pool.run(never)
        assert waiting.cancelled_caught
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
            assert not left.is_set()
            held.let_go.set()
            await left.wait()
    assert (await pool.run(lambda: "free"))[0] == "free"
    assert never.begun == 0


async def test_what_work_raises_reaches_its_caller() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    pool = Workers(1, 0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await pool.run(fail)
    assert (await pool.run(lambda: 1))[0] == 1
