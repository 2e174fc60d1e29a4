"""Rows that belong to no scope: inboxes of the relay, revoked tokens, budgets, secrets made once per deployment."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StoreError
from .client.failures import OutcomeUnknown
from .client.requests import HIGHEST, LOWEST, Cells, Delete, Get, Guard, Key, Put, Range, Update
from .client.sdk_client import PATIENCE, Gateway
from .commit.tables import Tables


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One row of `_sessions`; `n` orders the rows of one (kind, id)."""

    kind: str
    id: str
    n: int
    columns: Cells


class SessionRows:
    """Values are strings, integers, booleans or bytes (kept as blobs). A method is one round trip, or says how many."""

    def __init__(self, gateway: Gateway, tables: Tables) -> None:
        self._gateway = gateway
        self._tables = tables

    def create(self, kind: str, id_: str, n: int, columns: Cells, *, deadline: float | None = None) -> bool:
        """Write a row that is not there yet; False if it is. A timeout raises OutcomeUnknown: read to find out."""
        return self._write(Put(self._table(), _key(kind, id_, n), columns, Guard("absent")), deadline, repeatable=False)

    def put(self, kind: str, id_: str, n: int, columns: Cells, *, deadline: float | None = None) -> None:
        """Write a row, whatever was there."""
        self._write(Put(self._table(), _key(kind, id_, n), columns), deadline, repeatable=True)

    def change(
        self,
        kind: str,
        id_: str,
        n: int,
        columns: Cells,
        *,
        where: str,
        was: str | int,
        remove: Sequence[str] = (),
        deadline: float | None = None,
    ) -> bool:
        """Compare and set: change a row if its column `where` equals `was`. False if not, or if it is gone. A timeout
        raises OutcomeUnknown: read to find out."""
        guard = Guard("present", where, "=", was)
        return self._write(
            Update(self._table(), _key(kind, id_, n), columns, remove, guard), deadline, repeatable=False
        )

    def get(self, kind: str, id_: str, n: int, *, deadline: float | None = None) -> SessionRow | None:
        """One row."""
        self._tables.ensure(deadline)
        cells = self._gateway.get(Get(self._table(), _key(kind, id_, n)), deadline=deadline)
        return None if cells is None else SessionRow(kind, id_, n, cells)

    def list(
        self, kind: str, id_: str | None = None, *, first: int | None = None, deadline: float | None = None
    ) -> Sequence[SessionRow]:
        """The rows of (kind, id) from n = `first` on, in order of n; without `id_` all of the kind."""
        self._tables.ensure(deadline)
        start: Key = (("kind", kind), ("id", LOWEST if id_ is None else id_), ("n", LOWEST if first is None else first))
        end: Key = (("kind", kind), ("id", HIGHEST if id_ is None else id_), ("n", HIGHEST))
        rows = [
            row for page in self._gateway.pages(Range(self._table(), start, end), deadline=deadline) for row in page
        ]
        return [SessionRow(row["kind"], row["id"], row["n"], row.cells) for row in rows]

    def delete(self, kind: str, id_: str, *ns: int, deadline: float | None = None) -> None:
        """Remove rows; those that are not there are no error."""
        self._tables.ensure(deadline)
        self._gateway.write_many([Delete(self._table(), _key(kind, id_, n)) for n in ns], deadline=deadline)

    def take(self, kind: str, id_: str, period: str, most: int, *, deadline: float | None = None) -> bool:
        """Count one more in `period`, unless `most` were counted: exactly, whoever else counts. Two round trips and two
        more for each race lost. One whose write is never answered may count twice."""
        deadline = time.monotonic() + PATIENCE if deadline is None else deadline  # of all the races together
        while True:
            row = self.get(kind, id_, 0, deadline=deadline)
            was = None if row is None else str(row.columns["taken"])
            taken = int(was.removeprefix(f"{period} ")) if was and was.startswith(f"{period} ") else 0
            if taken >= most:
                return False
            columns = {"taken": f"{period} {taken + 1}"}
            try:
                if was is None:
                    done = self.create(kind, id_, 0, columns, deadline=deadline)
                else:
                    done = self.change(kind, id_, 0, columns, where="taken", was=was, deadline=deadline)
            except OutcomeUnknown:
                continue
            if done:
                return True

    def secret(self, name: str, *, deadline: float | None = None) -> str:
        """A random secret (43 URL-safe characters) that every instance of this deployment gets the same; made by
        whoever asks first."""
        self._tables.ensure(deadline)
        row = self.get("secret", name, 0, deadline=deadline)
        if row is None:
            mine = Put(self._table(), _key("secret", name, 0), {"value": secrets.token_urlsafe(32)}, Guard("absent"))
            self._gateway.write(mine, repeatable=True, deadline=deadline)  # refused the second time; then read below
            row = self.get("secret", name, 0, deadline=deadline)
        if row is None:
            raise StoreError(f"The secret {name!r} was removed while it was being made.")
        return str(row.columns["value"])

    def _table(self) -> str:
        return self._tables.sessions

    def _write(self, write: Put | Update, deadline: float | None, *, repeatable: bool) -> bool:
        self._tables.ensure(deadline)
        return self._gateway.write(write, repeatable=repeatable, deadline=deadline)


def _key(kind: str, id_: str, n: int) -> Key:
    return (("kind", kind), ("id", id_), ("n", n))
