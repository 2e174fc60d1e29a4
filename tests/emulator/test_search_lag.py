"""A search index that is behind its table, as the service's are."""

from collections.abc import Iterator
from typing import Any

import pytest
import tablestore as ots

from support.emulator import Emulator
from support.search import (
    ALL,
    FROM_INDEX,
    INDEX,
    attributes,
    ids,
    remember,
    search,
)
from support.tables import refused


class TestLag:
    """Time enters through lags that are either far away or over, never through waiting."""

    FAR = 3600

    @pytest.fixture(autouse=True)
    def _undisturbed(self, emulator: Emulator) -> Iterator[None]:
        yield
        emulator.clear_faults()

    def test_a_write_is_seen_by_the_table_at_once_and_by_search_later(
        self, emulator: Emulator, client: Any, table: str
    ) -> None:
        remember(client, table, "u", "old", text="red", at=1)
        remember(client, table, "u", "gone", text="red", at=2)
        emulator.set_faults(index_lag=self.FAR)
        remember(client, table, "u", "new", text="red")
        remember(client, table, "u", "old", text="green", at=3)
        client.delete_row(table, [("user", "u"), ("id", "gone")], ots.Condition("IGNORE"))
        page = search(client, table, ots.MatchQuery("text", "red"), FROM_INDEX, get_total_count=True)
        assert ids(page) == ["gone", "old"]
        assert list(attributes(page)) == [{"text": "red", "at": 2}, {"text": "red", "at": 1}]
        assert page.total_count == 2
        # Columns from the table are those of now, and a row that is gone cannot be returned.
        page = search(client, table, ots.MatchQuery("text", "red"), ALL)
        assert (ids(page), len(page.search_hits)) == (["old"], 1)
        assert list(attributes(page)) == [{"text": "green", "at": 3}]
        _, sync = client.describe_search_index(table, INDEX)
        emulator.set_faults(index_lag=0)
        assert ids(search(client, table, ots.MatchQuery("text", "red"))) == ["new"]
        assert ids(search(client, table, ots.MatchQuery("text", "green"))) == ["old"]
        assert client.describe_search_index(table, INDEX)[1].current_sync_timestamp > sync.current_sync_timestamp

    def test_the_lag_holds_from_the_first_row_on(self, emulator: Emulator, client: Any, table: str) -> None:
        emulator.set_faults(index_lag=self.FAR)
        remember(client, table, "u", "1", text="red")  # nobody has searched yet
        assert ids(search(client, table, ots.MatchAllQuery())) == []

    def test_replicas_disagree(self, emulator: Emulator, client: Any, table: str) -> None:
        remember(client, table, "u", "1", at=1)
        emulator.set_faults(replica_lags=[0, self.FAR])
        remember(client, table, "u", "2", at=2)
        answers = [ids(search(client, table, ots.MatchAllQuery())) for _ in range(4)]
        assert sorted(answers) == [["1"], ["1"], ["1", "2"], ["1", "2"]]
        assert answers[0] != answers[1]  # they take turns: reading again may go back in time
        emulator.set_faults(replica_lags=[0])
        assert [ids(search(client, table, ots.MatchAllQuery())) for _ in range(2)] == [["1", "2"]] * 2

    def test_an_index_is_not_ready_at_once(self, emulator: Emulator, client: Any, table: str) -> None:
        emulator.set_faults(index_ready_after=self.FAR)
        with refused("OTSTableNotReady", 404, r"search index \[ix\] is not ready"):
            search(client, table, ots.MatchAllQuery())
        assert client.describe_search_index(table, INDEX)[1].sync_phase == ots.SyncPhase.FULL
        emulator.set_faults(index_ready_after=0)
        assert search(client, table, ots.MatchAllQuery()).rows == []
