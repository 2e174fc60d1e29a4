"""The table of release 1.x: made and filled by hand, and the release itself, which is another program.

`make .venv-1x/.installed` installs it into an environment of its own.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import tablestore as ots

from .emulator import Emulator, connect

PACIFIC = timezone(timedelta(hours=-8))


class OldTable:
    """`table` as release 1.x makes it, without its search index, which nothing of ours reads."""

    def __init__(self, emulator: Emulator, table: str = "mem0") -> None:
        self.name = table
        self._client = connect(emulator)
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
