"""Until when a memory is remembered: what a person writes, and milliseconds since the epoch, UTC."""

from datetime import UTC, date, datetime, time

from ..errors import InvalidInput

_LAST = 253_402_300_799_999  # that a date can name
ACCEPTED = "accepted: a later day or time in ISO 8601, such as 2027-01-31 or 2027-01-31T18:00:00+08:00"


def milliseconds(written: str) -> int:
    """A day is remembered to its end, as in Mem0; what names no time zone is UTC; "" is 0: never to be forgotten.

    Raises InvalidInput for what is no date, or a past one.
    """
    if not written.strip():
        return 0
    try:
        moment = _moment(written.strip())
    except ValueError:
        raise InvalidInput(f"expires_at is no date; {ACCEPTED}.") from None
    if moment <= datetime.now(UTC):
        raise InvalidInput(f"expires_at lies in the past; {ACCEPTED}.")
    return min(round(moment.timestamp() * 1000), _LAST)


def _moment(written: str) -> datetime:
    try:
        moment = datetime.combine(date.fromisoformat(written), time.max)
    except ValueError:
        moment = datetime.fromisoformat(written)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
