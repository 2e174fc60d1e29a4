"""What no log may ever hold. Every server process of the tests has its log checked when it ends."""

import re

# What tests let clients say: memory texts and queries. Short ones could stand in any line by accident.
_SAID: set[str] = set()
_SHORTEST = 8

_SECRETS = {
    "a session id": re.compile(r"session_id=[0-9a-f]{8}"),
    "a token": re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]+\."),
    "a bearer token": re.compile(r"[Bb]earer +(?!<)[\w.-]{16,}"),
    "an API key": re.compile(r"\bsk-[\w-]{6,}"),
    "a traceback": re.compile(r"^Traceback \(most recent call last\)", re.MULTILINE),
}


def said(text: str) -> None:
    """Remember what a client said."""
    if len(text.strip()) >= _SHORTEST:
        _SAID.add(text.strip())


def check(log: str) -> None:
    """Raises AssertionError that tells what was found, and in which line."""
    for what, pattern in _SECRETS.items():
        found = pattern.search(log)
        assert not found, f"{what} in a log: {found and found[0]}"
    for line in log.splitlines():
        if line.startswith('{"at"'):  # the others are the banner's
            for text in _SAID:
                assert text not in line, f"a client's words in a log: {line}"
