"""Puts an emulator together and runs it until it is told to stop."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from .faults import Faults
from .protocol.api import Api
from .protocol.auth import Authenticator, Credential
from .storage.engine import Engine
from .storage.sqlite_storage import Storage
from .tables.catalog import Catalog
from .wire.server import Server


@dataclass(slots=True)
class Options:
    """How to run. `data`: a directory, or None to keep everything in memory."""

    host: str = "127.0.0.1"
    port: int = 0
    port_fallback: bool = False
    data: Path | None = None
    instance: str = "emulator"
    credentials: list[Credential] = field(default_factory=lambda: [Credential("emulator", "emulator")])
    faults: Faults = field(default_factory=Faults)
    ready_file: Path | None = None
    exit_with_parent: bool = False


def run(options: Options) -> None:
    """Serve until SIGTERM, SIGINT or (exit_with_parent) the end of standard input. Raises StorageError, OSError."""
    os.umask(0o077)  # what is written is somebody's data
    _allow_many_connections()
    storage = Storage(options.data)
    try:
        asyncio.run(_serve(options, storage))
    finally:
        storage.close()


async def _serve(options: Options, storage: Storage) -> None:
    engine = Engine(storage, Catalog(storage), faults=options.faults)
    auth = Authenticator(options.credentials, options.instance, engine.clock)
    server = Server(engine, Api(engine), auth, options.faults)
    try:
        port = await server.start(options.host, options.port)
    except OSError:
        if not (options.port_fallback and options.port):
            raise
        port = await server.start(options.host, 0)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if options.exit_with_parent:
        _stop_with_parent(stop)
    try:
        announce(options, port)
    except OSError:
        if not storage.reserve.release():  # the disk is full
            raise
        announce(options, port)
    await stop.wait()
    await server.stop()


def announce(options: Options, port: int) -> None:
    """Say that the emulator listens: a JSON line, then shell exports; with a ready file, the line goes there alone."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    credential = options.credentials[0]
    ready = {
        "endpoint": f"http://{host}:{port}",
        "instance": options.instance,
        "access_key_id": credential.key_id,
        "access_key_secret": credential.secret,
        "pid": os.getpid(),
    }
    if options.ready_file is not None:
        _write_private(options.ready_file, json.dumps(ready) + "\n")
        return
    print(json.dumps(ready))
    for name, key in (
        ("TABLESTORE_ENDPOINT", "endpoint"),
        ("TABLESTORE_INSTANCE_NAME", "instance"),
        ("TABLESTORE_ACCESS_KEY_ID", "access_key_id"),
        ("TABLESTORE_ACCESS_KEY_SECRET", "access_key_secret"),
    ):
        print(f"export {name}={ready[key]}")
    sys.stdout.flush()


def _write_private(path: Path, text: str) -> None:
    """Atomically, readable by the owner alone: it holds the secret. On a full disk the old one makes room."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    for last in (False, True):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            break
        except OSError:
            draft.unlink(missing_ok=True)
            if last or not path.exists():
                raise
            path.unlink()
    draft.replace(path)


def _allow_many_connections() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def _stop_with_parent(stop: asyncio.Event) -> None:
    """Whoever started us holds the other end of standard input: when it is gone, so are we."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):  # not sys.stdin: its lock would be held when the interpreter ends
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
