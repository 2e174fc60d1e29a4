"""Until when a memory is remembered: what a person writes, and milliseconds since the epoch, UTC."""

from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from ...errors import InvalidInput

_LAST = 253_402_300_799_999  # that a date can name
_LAST_ZONE = timezone(timedelta(hours=-12))  # where every day ends last
ACCEPTED = "accepted: a later day or time in ISO 8601, such as 2027-01-31 or 2027-01-31T18:00:00+08:00"


def milliseconds(written: str) -> int:
    """A day is remembered to its end, as in Mem0; "" is 0: never to be forgotten.

    What names no time zone means the server's (TZ): on a laptop its user's. If it has passed there, it may still lie
    ahead of the person, whose zone nobody knows: then it means the zone where it passes last, UTC-12. So nobody's today
    is refused. Raises InvalidInput for what is no date, or has passed everywhere.
    """
    if not written.strip():
        return 0
    try:
        moments = [_moment(written.strip(), zone) for zone in (None, _LAST_ZONE)]
    except ValueError:
        raise InvalidInput(f"expires_at is no date; {ACCEPTED}.") from None
    now = datetime.now(UTC)
    for moment in moments:
        if moment > now:
            return min(round(moment.timestamp() * 1000), _LAST)
    raise InvalidInput(f"expires_at lies in the past; {ACCEPTED}.")


def _moment(written: str, zone: tzinfo | None) -> datetime:
    """`zone` None: the server's. Raises ValueError."""
    try:
        moment = datetime.combine(date.fromisoformat(written), time.max)
    except ValueError:
        moment = datetime.fromisoformat(written)
    if moment.tzinfo:
        return moment
    if zone:
        return moment.replace(tzinfo=zone)
    try:
        return moment.astimezone()  # by the rules that the zone will have then, summer time included
    except (OverflowError, OSError, ValueError):  # at the ends of the calendar
        return moment.replace(tzinfo=UTC)
