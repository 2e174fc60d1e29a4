"""The table that release 1.x keeps memories in: read by GetRange, never changed but by `delete_of`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..client.failures import TableMissing
from ..client.requests import HIGHEST, LOWEST, Delete, Range, StoredRow
from ..client.sdk_client import Gateway
from .row import EMBEDDING, ID, PAYLOAD, SOURCE, TENANT, TEXT, LegacyRow, client_of, read_row, user_of

_KEY = [(ID, "STRING"), (TENANT, "STRING")]


@dataclass(frozen=True, slots=True)
class RowCount:
    """`more`: there are more rows than were counted."""

    rows: int
    more: bool


class LegacyTable:
    """Blocking; every method may raise a StoreError."""

    def __init__(self, gateway: Gateway, name: str) -> None:
        self.name = name
        self._gateway = gateway

    def exists(self) -> bool:
        """Whether there is a table of this name with release 1.x's key. One DescribeTable."""
        try:
            return self._gateway.describe_table(self.name) == _KEY
        except TableMissing:
            return False

    def count(self) -> RowCount | None:
        """The rows of the first page, 5,000 or 4 MB of payloads; None if there is no such table. Three requests at
        most, however large the table."""
        if not self.exists():
            return None
        pages = self._pages((SOURCE,))
        first = next(pages, [])
        return RowCount(len(first), next(pages, []) != []) if first else RowCount(0, False)

    def pages(self) -> Iterator[list[LegacyRow]]:
        """All rows, as the service cuts them: about 130 at a time with vectors of 1,536 numbers."""
        for page in self._pages((TEXT, EMBEDDING, PAYLOAD, SOURCE)):
            yield [read_row(row) for row in page]

    def clients_of(self, user_id: str) -> tuple[Counter[str], int]:
        """(how many rows the user has, by client_name; how many rows do not say whose they are). Reads the table
        through, without texts and vectors."""
        found, unknown = Counter[str](), 0
        for page in self._pages((SOURCE, PAYLOAD)):
            for row in page:
                user = user_of(row)
                unknown += user is None
                if user == user_id:
                    found[client_of(row)] += 1
        return found, unknown

    def delete_of(self, user_id: str) -> int:
        """Delete the user's rows for good; how many. The only method that writes."""
        deleted = 0
        for page in self._pages((SOURCE, PAYLOAD)):
            mine = [row for row in page if user_of(row) == user_id]
            self._gateway.write_many([Delete(self.name, row.key) for row in mine])
            deleted += len(mine)
        return deleted

    def _pages(self, columns: Sequence[str]) -> Iterator[list[StoredRow]]:
        start, end = ((ID, LOWEST), (TENANT, LOWEST)), ((ID, HIGHEST), (TENANT, HIGHEST))
        return self._gateway.pages(Range(self.name, start, end, columns))
