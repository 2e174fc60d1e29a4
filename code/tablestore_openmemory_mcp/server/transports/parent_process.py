"""The process that started this one: whether it still runs.

A child usually learns of its client's end when stdin ends. Not if some other process holds the pipe's other end too: a
sibling that inherited it, a debugger, a wrapper. Then only the parent's end tells, however it came.
"""

import os
import sys
from collections.abc import Callable

import anyio

POLL_SECONDS = 1.0
FIRST_MESSAGE_SECONDS = 60.0  # that a client may take which started us through a launcher that has ended

if sys.platform == "win32":
    import ctypes

    _SYNCHRONIZE = 0x00100000
    _WAIT_OBJECT_0 = 0

    class Parent:
        """The parent as of now. Windows never changes a parent's id, and may give it to another process: a handle that
        is kept open tells for sure."""

        def __init__(self) -> None:
            self._handle = ctypes.windll.kernel32.OpenProcess(_SYNCHRONIZE, False, os.getppid())

        def gone(self) -> bool:
            """Whether it has ended; False if that cannot be found out."""
            return bool(self._handle) and ctypes.windll.kernel32.WaitForSingleObject(self._handle, 0) == _WAIT_OBJECT_0
else:

    class Parent:
        """The parent as of now."""

        def __init__(self) -> None:
            self._pid = os.getppid()

        def gone(self) -> bool:
            """Whether it has ended: the kernel gives its children to another process."""
            return os.getppid() != self._pid


async def orphaned(heard: Callable[[], bool]) -> None:
    """Return when the parent has ended. `heard`: whether the client has said something yet.

    A parent that ends before that may be a launcher that has done its work: then the client has a minute to speak.
    """
    parent = Parent()
    while True:
        while not parent.gone():  # noqa: ASYNC110 - no event tells, on any system
            await anyio.sleep(POLL_SECONDS)
        if heard():
            return
        with anyio.move_on_after(FIRST_MESSAGE_SECONDS):
            while not heard():  # noqa: ASYNC110 - seldom needed
                await anyio.sleep(POLL_SECONDS)
        if not heard():
            return
        parent = Parent()
