"""`minimum_should_match`: how many of several clauses have to match."""

import re

from ...errors import invalid

_FORM = re.compile(r"(?P<number>-?\d+)(?P<percent>%?)")


def required(form: str, clauses: int) -> int:
    """How many of `clauses`: "2", "-1" (all but one), "75%", "-25%" (all but a quarter, both rounded down)."""
    found = _FORM.fullmatch(form.strip())
    if found is None:
        raise invalid(f"minimum_should_match [{form}] is invalid")
    number = int(found["number"])
    if found["percent"]:
        number = int(clauses * number / 100)
    return min(max(number if number >= 0 and not form.strip().startswith("-") else clauses + number, 0), clauses)
