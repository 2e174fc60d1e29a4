"""The table of release 1.x: made and filled by hand, and the release itself, which is another program.

`make release-1x` installs it into an environment of its own.
"""

import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Self

import tablestore as ots

from .emulator import Emulator, connect
from .processes import wait_until

PACIFIC = timezone(timedelta(hours=-8))


class OldTable:
    """`table` as release 1.x makes it, without its search index, which nothing of ours reads."""

    def __init__(self, emulator: Emulator, table: str = "mem0", *, make: bool = True) -> None:
        """`make`: else somebody else has made it."""
        self.name = table
        self._client = connect(emulator)
        if make:
            self._make(table)

    def _make(self, table: str) -> None:
        meta = ots.TableMeta(table, [("document_id", "STRING"), ("tenant_id", "STRING")])
        self._client.create_table(meta, ots.TableOptions(), ots.ReservedThroughput(ots.CapacityUnit(0, 0)))

    def put(
        self,
        text: str | None,
        user: str = "alice",
        client: str = "cline",
        *,
        id: str | None = None,
        vector: Sequence[float] | str | None = None,
        created: datetime | str | None = datetime(2026, 3, 1, 12, tzinfo=PACIFIC),
        updated: datetime | str | None = None,
        tenant: str = "__default",
        more: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> str:
        """A row; its id. `columns` replace those that follow from the rest; None leaves one out."""
        payload: dict[str, Any] = {"user_id": user, "source_app": "openmemory", "mcp_client": client, "hash": "0" * 32}
        payload |= {name: _time(when) for name, when in (("created_at", created), ("updated_at", updated)) if when}
        payload |= more or {}
        cells: dict[str, Any] = {
            "text": text,
            "embedding": vector if isinstance(vector, str) or vector is None else json.dumps(list(vector)),
            "payload": json.dumps([f"{name}={value}" for name, value in payload.items()]),
            "payload_source": json.dumps(payload),
        }
        cells |= columns or {}
        made = id or str(uuid.uuid4())
        row = ots.Row(
            [("document_id", made), ("tenant_id", tenant)], [(n, v) for n, v in cells.items() if v is not None]
        )
        self._client.put_row(self.name, row, ots.Condition("IGNORE"))
        return made

    def drop(self) -> None:
        """Drop it and the tables of ours that have its name for a prefix."""
        for table in self._client.list_table():
            if table == self.name or table.startswith(f"{self.name}_"):
                self._client.delete_table(table)

    def delete(self, id: str) -> None:
        key = [("document_id", id), ("tenant_id", "__default")]
        self._client.delete_row(self.name, ots.Row(key), ots.Condition("IGNORE"))

    def rows(self) -> dict[str, dict[str, Any]]:
        """All columns by document_id."""
        start: Any = [("document_id", ots.INF_MIN), ("tenant_id", ots.INF_MIN)]
        end = [("document_id", ots.INF_MAX), ("tenant_id", ots.INF_MAX)]
        found: dict[str, dict[str, Any]] = {}
        while start:
            _, start, rows, _ = self._client.get_range(self.name, "FORWARD", start, end, max_version=1)
            found |= {row.primary_key[0][1]: {n: v for n, v, _ in row.attribute_columns} for row in rows}
        return found


def _time(when: datetime | str) -> str:
    return when if isinstance(when, str) else when.isoformat()


def ms(when: datetime) -> int:
    """Milliseconds since the epoch."""
    return round(when.astimezone(UTC).timestamp() * 1000)


HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent.parent / ".venv-reference"


def release_environ(home: Path, **variables: str) -> dict[str, str]:
    """Of a process of release 1.3.1. It and its Mem0 keep files in the home directory."""
    assert (ENVIRONMENT / ".installed").exists(), "Release 1.3.1 is not installed: run `make release-1x`"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "MEM0_TELEMETRY": "False", **variables}


class ReleaseWriter:
    """Release 1.3.1 as a process that remembers what it is told, one text at a time."""

    def __init__(self, home: Path, **variables: str) -> None:
        self._log = (home / "writer.log").open("wb")
        self._process = subprocess.Popen(
            [ENVIRONMENT / "bin" / "python", HERE / "release_1x_writer.py"],
            env=release_environ(home / "1x", **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def remember(self, text: str, user: str, client: str) -> str:
        """The memory's id."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"text": text, "user": user, "client": client}) + "\n")
        self._process.stdin.flush()
        id_ = self._process.stdout.readline().strip()
        assert id_, f"release 1.3.1 ended: see {self._log.name}"
        return id_

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


@contextmanager
def release_server(home: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """Release 1.3.1 as a server; its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environ = release_environ(home / "1x", SERVER_HOST="127.0.0.1", SERVER_PORT=str(port), **variables)
    command = [str(ENVIRONMENT / "bin" / "tablestore-openmemory-mcp"), *arguments]
    with (home / "1x.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, 120, (home / "1x.log").read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
