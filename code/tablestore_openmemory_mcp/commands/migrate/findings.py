"""What a migration found and did: counts per scope, and a line for each row that is not as it should be."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...scope import Scope
from ...store.legacy.row import LegacyRow
from ..terminal import shown

# What became of a row: exactly one of these.
BROUGHT = "brought"
UPDATED = "updated"
ALREADY = "taken over before"
TWIN = "says the same as another"
DELETED = "deleted here since"
ERASED = "of a user who was erased here"
LEFT_OUT = "left out"
FATES = (BROUGHT, UPDATED, ALREADY, TWIN, DELETED, ERASED, LEFT_OUT)

_SHOWN = 10  # rows of one kind that are listed in the text; --json lists all


@dataclass(frozen=True, slots=True)
class Remark:
    """Something odd about a row: why it was left out, or what was set right. Never its text."""

    id: str
    user_id: str  # as the old table has them
    client_name: str
    left_out: bool
    what: str


@dataclass(slots=True)
class ScopeFindings:
    """Of the rows that go to one scope. `sources`: whose they were, as user/client; `gone`: memories that were taken
    over and are no longer in the old table."""

    sources: set[str] = field(default_factory=set)
    fates: Counter[str] = field(default_factory=Counter)
    gone: int = 0


@dataclass(slots=True)
class Findings:
    """`applied`: they were taken over; else this is what would happen. `vectors`: what is done about them."""

    table: str
    applied: bool
    vectors: str = ""
    rows: int = 0
    reused: int = 0
    embedded: int = 0
    scopes: dict[Scope, ScopeFindings] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)
    unused_maps: Sequence[str] = ()

    def remark(self, row: LegacyRow, what: str, *, left_out: bool = False) -> None:
        self.remarks.append(Remark(row.id, row.user_id, row.client_name, left_out, what))

    def of(self, scope: Scope) -> ScopeFindings:
        return self.scopes.setdefault(scope, ScopeFindings())

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return not self.unused_maps and not any(remark.left_out for remark in self.remarks)

    def total(self, fate: str) -> int:
        return sum(one.fates[fate] for one in self.scopes.values())

    def as_json(self) -> Mapping[str, Any]:
        """docs/upgrading.md explains the names."""
        return {
            "table": self.table,
            "applied": self.applied,
            "rows": self.rows,
            "vectors": {"decision": self.vectors, "reused": self.reused, "embedded": self.embedded},
            "scopes": [
                {
                    "user_id": scope.user_id,
                    "client_name": scope.client_name,
                    "from": sorted(one.sources),
                    **{fate.replace(" ", "_"): one.fates[fate] for fate in FATES},
                    "no_longer_in_the_old_table": one.gone,
                }
                for scope, one in self._sorted()
            ],
            "left_out": [_remark(r) for r in self.remarks if r.left_out],
            "remarks": [_remark(r) for r in self.remarks if not r.left_out],
            "maps_without_rows": list(self.unused_maps),
        }

    def lines(self) -> Iterator[str]:
        """The report for a person."""
        yield f"Table {self.table} of release 1.x: {self.rows:,} memor{'y' if self.rows == 1 else 'ies'}."
        if self.vectors:
            yield f"Vectors: {self.vectors}"
        for scope, one in self._sorted():
            target = f"{scope.user_id}/{scope.client_name}"
            sources = ", ".join(shown(s) for s in sorted(one.sources) if s != target)
            yield f"{target}{f' (from {sources})' if sources else ''}"
            for fate in FATES:
                if one.fates[fate]:
                    yield f"  {one.fates[fate]:>7,} {self._told(fate)}"
            if one.gone:
                yield f"  {one.gone:>7,} taken over before, and no longer in the old table: they stay here"
        yield from self._listed("Left out", [r for r in self.remarks if r.left_out])
        yield from self._listed("Taken over all the same", [r for r in self.remarks if not r.left_out])
        for old in self.unused_maps:
            yield f"--map {shown(old)}=…: the old table has nothing under these names."

    def _told(self, fate: str) -> str:
        if fate in (BROUGHT, UPDATED) and not self.applied:
            return {BROUGHT: "to bring", UPDATED: "to update: release 1.x has changed them since"}[fate]
        return fate

    def _sorted(self) -> list[tuple[Scope, ScopeFindings]]:
        return sorted(self.scopes.items(), key=lambda item: (item[0].user_id, item[0].client_name))

    @staticmethod
    def _listed(title: str, remarks: Sequence[Remark]) -> Iterator[str]:
        by_kind: dict[str, list[Remark]] = {}
        for remark in remarks:
            by_kind.setdefault(remark.what, []).append(remark)
        for what, some in by_kind.items():
            yield f"{title}, {len(some):,}: {what}"
            for remark in some[:_SHOWN]:
                yield f"  {shown(remark.id)} of {shown(f'{remark.user_id}/{remark.client_name}')}"
            if len(some) > _SHOWN:
                yield f"  and {len(some) - _SHOWN:,} more; --json lists all"


def _remark(remark: Remark) -> dict[str, str]:
    names = (remark.id, remark.user_id, remark.client_name)
    id_, user, client = (name.encode("utf-8", "replace").decode() for name in names)
    return {"id": id_, "user_id": user, "client_name": client, "what": remark.what}
