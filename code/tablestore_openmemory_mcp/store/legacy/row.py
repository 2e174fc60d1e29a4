"""A row of the table of release 1.x, as plain values: every part of it may be missing or broken."""

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ...unicode_normalization import normalized
from ..client.requests import StoredRow
from ..model import Vector

TEXT, EMBEDDING, PAYLOAD, SOURCE = "text", "embedding", "payload", "payload_source"
ID, TENANT = "document_id", "tenant_id"
DEFAULT_TENANT = "__default"  # release 1.x writes no other

# What is not metadata: it has a place of its own, or says whose the memory is, or is the same in every row.
_NOT_METADATA = frozenset({"user_id", "mcp_client", "hash", "created_at", "updated_at", "data", "id"})
_SOURCE_APP = "openmemory"


@dataclass(frozen=True, slots=True)
class LegacyRow:
    """One memory of release 1.x. Times are milliseconds since the epoch, UTC; None: the row holds none that can be
    read. `text` is the row's, unchecked; `payload` None: nothing tells whose it is. `oddities`: short phrases."""

    key: str  # document_id, and tenant_id if it is not the usual one
    id: str
    text: str | None
    payload: Mapping[str, Any] | None
    vector: Vector | None
    created_at: int | None
    updated_at: int | None
    version: bytes  # changes with the row's text and payload
    oddities: Sequence[str] = field(default=())

    @property
    def user_id(self) -> str:
        """As it is written there, unchecked; "" if it is missing."""
        return _name(self.payload, "user_id")

    @property
    def client_name(self) -> str:
        return _name(self.payload, "mcp_client")

    @property
    def metadata(self) -> dict[str, Any]:
        """What else its writer noted."""
        payload = self.payload or {}
        kept = {name: value for name, value in payload.items() if name not in _NOT_METADATA}
        if kept.get("source_app") == _SOURCE_APP:
            del kept["source_app"]
        return _encodable(kept)


def read_row(row: StoredRow) -> LegacyRow:
    """Decode a row that was read with its text, vector and payload. Never raises."""
    oddities: list[str] = []
    text = row.cells.get(TEXT)
    payload = _payload(row.cells, oddities)
    vector = _vector(row.cells.get(EMBEDDING), oddities)
    created = _time(payload, "created_at", oddities)
    updated = _time(payload, "updated_at", oddities)
    return LegacyRow(
        key=_key(row),
        id=_id(row),
        text=text if isinstance(text, str) else None,
        payload=payload,
        vector=vector,
        created_at=created,
        updated_at=updated,
        version=_digest(text, row.cells.get(SOURCE), row.cells.get(PAYLOAD)),
        oddities=oddities,
    )


def user_of(row: StoredRow) -> str | None:
    """Whose memory a row is; None if it does not say."""
    payload = _payload(row.cells, [])
    return None if payload is None else _name(payload, "user_id")


def client_of(row: StoredRow) -> str:
    return _name(_payload(row.cells, []), "mcp_client")


def _name(payload: Mapping[str, Any] | None, what: str) -> str:
    value = (payload or {}).get(what)
    return normalized("NFC", value) if isinstance(value, str) else ""


def _key(row: StoredRow) -> str:
    tenant = row[TENANT]
    return str(row[ID]) if tenant == DEFAULT_TENANT else f"{row[ID]}/{tenant}"


def _id(row: StoredRow) -> str:
    """The memory's id: the row's own. Two tenants may use one id, so other tenants' rows get another, always the
    same."""
    return str(row[ID]) if row[TENANT] == DEFAULT_TENANT else str(uuid.uuid5(uuid.NAMESPACE_OID, _key(row)))


def _payload(cells: Mapping[str, Any], oddities: list[str]) -> Mapping[str, Any] | None:
    source = _json(cells.get(SOURCE))
    if isinstance(source, dict):
        return source
    pairs = _json(cells.get(PAYLOAD))
    if isinstance(pairs, list) and pairs:
        oddities.append("payload_source cannot be read; payload was read in its place")
        return {name: value for name, _, value in (str(pair).partition("=") for pair in pairs)}
    return None


def _vector(cell: Any, oddities: list[str]) -> Vector | None:
    """At length 1."""
    numbers = _json(cell)
    try:
        vector = np.asarray(numbers, np.float64) if isinstance(numbers, list) and numbers else None
    except (ValueError, TypeError):
        vector = None
    length = 0.0 if vector is None or vector.ndim != 1 else float(np.linalg.norm(vector))
    if vector is None or not length or not math.isfinite(length):
        oddities.append("no vector" if cell is None else "a vector that cannot be read")
        return None
    return np.asarray(vector / length, np.float32)


def _time(payload: Mapping[str, Any] | None, what: str, oddities: list[str]) -> int | None:
    written = (payload or {}).get(what)
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)
    except (ValueError, TypeError, OverflowError):
        oddities.append(f"{what} cannot be read")
        return None


def _json(cell: Any) -> Any:
    try:
        return json.loads(cell, parse_constant=lambda _: None) if isinstance(cell, str) else None
    except (ValueError, RecursionError):
        return None


def _encodable(payload: dict[str, Any]) -> dict[str, Any]:
    """Without the lone surrogates that JSON can spell and UTF-8 cannot."""
    text = json.dumps(payload, ensure_ascii=False)
    sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return payload if sound == text else dict(json.loads(sound))


def _digest(*cells: Any) -> bytes:
    return hashlib.sha256(json.dumps([str(cell) for cell in cells]).encode()).digest()[:8]
