"""When a day ends: wherever the server stands, and wherever the person."""

import os
import time as clock
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clients import over_stdio
from tablestore_openmemory_mcp.errors import InvalidInput
from tablestore_openmemory_mcp.server.tools import expiry
from tablestore_openmemory_mcp.server.tools.expiry import milliseconds

ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati", "Etc/GMT+12", "Australia/Lord_Howe"]
INSTANTS = st.datetimes(datetime(2026, 1, 1), datetime(2031, 1, 1), timezones=st.just(UTC))
PEOPLE = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@contextmanager
def server_in(zone: str, now: datetime) -> Iterator[None]:
    """This process in a time zone, at that moment."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now.astimezone(tz)

    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    clock.tzset()
    try:
        with patch.object(expiry, "datetime", Clock):
            yield
    finally:
        os.environ.pop("TZ")
        if before is not None:
            os.environ["TZ"] = before
        clock.tzset()


def end_of(day: date, zone: str) -> int:
    return round(datetime.combine(day, time.max, ZoneInfo(zone)).timestamp() * 1000)


@given(INSTANTS, st.sampled_from(ZONES), st.integers(0, 400))
@settings(deadline=None)
def test_a_day_ends_when_it_ends_at_the_servers_place(now: datetime, zone: str, later: int) -> None:
    """Its today, too, whatever the day is in UTC."""
    with server_in(zone, now):
        day = now.astimezone(ZoneInfo(zone)).date() + timedelta(days=later)
        assert milliseconds(day.isoformat()) == end_of(day, zone) > now.timestamp() * 1000


@given(INSTANTS, st.sampled_from(ZONES), PEOPLE)
@settings(deadline=None)
def test_nobodys_today_is_refused_or_over_before_it_ends_for_good(now: datetime, zone: str, person: timezone) -> None:
    with server_in(zone, now):
        theirs = now.astimezone(person).date()
        at = milliseconds(theirs.isoformat())
        assert at > now.timestamp() * 1000
        assert at in (end_of(theirs, zone), end_of(theirs, "Etc/GMT+12"))
        tonight = datetime.combine(theirs, time(23, 59, 59))
        if tonight > now.astimezone(person).replace(tzinfo=None):
            assert milliseconds(tonight.isoformat()) > now.timestamp() * 1000


@given(INSTANTS, st.sampled_from(ZONES), st.integers(1, 400))
@settings(deadline=None)
def test_a_day_that_is_over_everywhere_is_refused(now: datetime, zone: str, before: int) -> None:
    day = now.astimezone(timezone(timedelta(hours=-12))).date() - timedelta(days=before)
    with server_in(zone, now), pytest.raises(InvalidInput, match="past"):
        milliseconds(day.isoformat())


@given(INSTANTS, st.sampled_from(ZONES), st.datetimes(datetime(2031, 1, 2), datetime(9999, 12, 31)), PEOPLE)
@settings(deadline=None)
def test_a_zone_that_is_named_is_meant(now: datetime, zone: str, moment: datetime, person: timezone) -> None:
    with server_in(zone, now):
        named = moment.replace(tzinfo=person)
        assert milliseconds(named.isoformat()) == min(round(named.timestamp() * 1000), 253_402_300_799_999)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("last", ["9999-12-31", "9999-12-31T23:59:59", "9999-12-31T23:59:59.999999-12:00"])
def test_the_last_day_of_the_calendar(zone: str, last: str) -> None:
    with server_in(zone, datetime.now(UTC)):
        assert 253_402_200_000_000 < milliseconds(last) <= 253_402_300_799_999


@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Pacific/Kiritimati"])
def test_a_server_takes_its_own_today(tmp_path: Path, zone: str) -> None:
    """A real one, at either end of the world."""
    with over_stdio(tmp_path, TZ=zone, EXTRA_TOOLS="true") as client:
        today = datetime.now(ZoneInfo(zone)).date().isoformat()
        answer = client.call("add_memories", text="The lift is out of order today", expires_at=today)
        assert not answer.failed, answer.text
        (memory,) = client.memories()
        assert datetime.fromisoformat(memory["expires_at"]) > datetime.now(UTC)
