"""DATE fields: Java date patterns, strictly, to milliseconds since the epoch.

Strictly, because the official SDK's own test shows it: with "yyyy-MM-dd" the value "2022-05-1" is not indexed.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from ...errors import unsupported
from ..values import Value

DEFAULT_FORMATS = ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "yyyy-MM-dd'T'HH:mm:ssX", "epoch_millis")

_SYMBOLS = {
    "yyyy": r"(?P<year>\d{4})",
    "MM": r"(?P<month>\d{2})",
    "dd": r"(?P<day>\d{2})",
    "HH": r"(?P<hour>\d{2})",
    "mm": r"(?P<minute>\d{2})",
    "ss": r"(?P<second>\d{2})",
    "X": r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)",
}
_SYMBOLS |= {"uuuu": _SYMBOLS["yyyy"], "Z": _SYMBOLS["X"], "XXX": _SYMBOLS["X"], "XX": _SYMBOLS["X"]}
_SYMBOLS |= {"S" * digits: rf"(?P<fraction>\d{{{digits}}})" for digits in range(1, 10)}
_PIECES = re.compile(r"'(?P<quoted>[^']*)'|(?P<symbol>([A-Za-z])\3*)|(?P<other>.)", re.DOTALL)
_FORMAT_CHARACTERS = 256
_EPOCH_UNITS = {"epoch_second": 1000, "epoch_millis": 1}


def check_format(pattern: str) -> None:
    """Raise an unsupported-operation error for a pattern that this module does not know."""
    if len(pattern) > _FORMAT_CHARACTERS:
        raise unsupported("So long a date format")
    if pattern not in _EPOCH_UNITS:
        _compile(pattern)


def milliseconds(value: Value, formats: tuple[str, ...]) -> int | None:
    """Milliseconds since the epoch, UTC; None if no format takes `value`."""
    for pattern in formats or DEFAULT_FORMATS:
        found = _epoch(value, _EPOCH_UNITS[pattern]) if pattern in _EPOCH_UNITS else _parse(value, pattern)
        if found is not None:
            return found
    return None


def _epoch(value: Value, unit: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value) * unit
    except ValueError:
        return None


def _parse(value: Value, pattern: str) -> int | None:
    match = _compile(pattern).fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    part = match.groupdict()
    year, month, day = (int(part.get(n) or low) for n, low in (("year", 1970), ("month", 1), ("day", 1)))
    hour, minute, second = (int(part.get(n) or 0) for n in ("hour", "minute", "second"))
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=_zone(part.get("zone")))
    except ValueError:
        return None
    millis = int(f"{part.get('fraction') or '0':0<3.3}")
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000 + millis


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(-offset if text[0] == "-" else offset)


@lru_cache(maxsize=256)
def _compile(pattern: str) -> re.Pattern[str]:
    found = []
    for piece in _PIECES.finditer(pattern):
        symbol = piece["symbol"]
        if symbol is not None and symbol not in _SYMBOLS:
            raise unsupported(f"The date format symbol '{symbol}' (in '{pattern}')")
        found.append(_SYMBOLS[symbol] if symbol else re.escape(piece["quoted"] or piece["other"] or "'"))
    return re.compile("".join(found))
