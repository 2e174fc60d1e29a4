"""A memory service in a process of its own, as another instance would be: one JSON line per call, one per answer."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tablestore_openmemory_mcp.scope import Scope

SECONDS = 120  # generous: a loaded machine imports slowly


class ServiceProcess:
    """`environ`: as for the server itself. Calls may be sent ahead; answers come in their order."""

    def __init__(self, environ: Mapping[str, str], scope: Scope) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps([dict(environ), scope.user_id, scope.client_name])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            text=True,
        )

    def __enter__(self) -> Self:
        assert self.answer() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, name: str, **arguments: Any) -> None:
        """Ask for `MemoryService.name(scope, **arguments)`."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What the next call that was sent returned, as plain JSON. Raises AssertionError with what it raised."""
        assert self._process.stdout
        line = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        assert "error" not in line, line["error"]
        return line["answer"]

    def call(self, name: str, **arguments: Any) -> Any:
        """send, and answer."""
        self.send(name, **arguments)
        return self.answer()


def main(environ: dict[str, str], user_id: str, client_name: str) -> None:
    """Serve calls until the input ends."""
    from tablestore_openmemory_mcp.composition import Composition
    from tablestore_openmemory_mcp.settings import Settings

    composition = Composition(Settings.load(environ))
    scope = Scope(user_id, client_name)
    service = composition.memory()
    import openai  # noqa: F401 - now, so that processes that begin together do
    import tablestore  # noqa: F401

    import tablestore_openmemory_mcp.memory.mem0.engine  # noqa: F401

    _say(answer="ready")
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            _say(answer=_plain(getattr(service, name)(scope, **arguments)))
        except Exception as e:
            _say(error=f"{type(e).__name__}: {e}")
    composition.close()


def _plain(value: Any) -> Any:
    """Memories without their vectors; the rest as it is."""
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value) if f.name != "vector"]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(*json.loads(sys.argv[1]))
