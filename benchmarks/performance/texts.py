"""What the load says: no query and no memory twice, within a process and between processes."""

import itertools
import secrets

_RUN = secrets.token_hex(3)
_numbers = itertools.count()
_SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "so", "ta", "vi", "wa", "zu")
_VERBS = ("likes", "avoids", "collects", "paints", "grows", "repairs", "reads about", "dreams of", "sells", "studies")
_PLACES = ("at home", "in the garden", "by the sea", "on Sundays", "before work", "with friends", "in spring", "alone")


def word(number: int) -> str:
    """A word that no other number has."""
    return "".join(_SYLLABLES[int(digit)] for digit in f"{number:03}").capitalize()


def memories(count: int) -> list[str]:
    """About 40 characters each."""
    return [f"{_VERBS[i % 10].capitalize()} {word(i)} figures {_PLACES[i // 10 % 8]}" for i in range(count)]


def query() -> str:
    n = next(_numbers)
    return f"What about {word(n)} and {word(n * 7 + 3)} {_PLACES[n % 8]}, {_RUN}?"


HOME = "Lives in Lisbon"  # the memory that each of the next texts corrects, so that an add takes two LLM calls


def correction() -> str:
    return f"I live in {word(next(_numbers))} {_RUN.capitalize()}"


def note() -> str:
    """For a verbatim add."""
    n = next(_numbers)
    return f"Note {_RUN} {n}: {word(n)} {_PLACES[n % 8]}"
