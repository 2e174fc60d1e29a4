"""The lists of tests/memory/data: real-life sentences, and secrets of the shapes that vendors document."""

import base64
import random
import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path

_DATA = Path(__file__).parents[1] / "memory" / "data"
_HOLE = re.compile(r"\{([A-Za-z0-9_]+)(?::(\d+))?\}")
_B64URL = string.ascii_letters + string.digits + "-_"
_ALPHABETS = {
    "alnum": string.ascii_letters + string.digits,
    "upper": string.ascii_uppercase + "234567",
    "hex": "0123456789abcdef",
    "digits": string.digits,
    "b64": string.ascii_letters + string.digits + "+/",
    "b64url": _B64URL,
    "mixed": string.ascii_letters + string.digits + "!@#%^*-_+=?",
}
_WORDS = ("Sunshine", "dragon", "Monkey", "liverpool", "Xiaoming", "wangfang", "Summer", "shadow", "Anna", "hunter")
_MARKS = ("", "", "!", "@", "#", "!!", "_x")


def lines(name: str) -> Sequence[str]:
    r"""The sentences of a list, in order; "\n" in one is a line break."""
    return [line.replace("\\n", "\n") for line in (_DATA / f"{name}.txt").read_text("utf-8").splitlines()]


def secrets(seed: int) -> Sequence[str]:
    """The templates of secrets.txt filled at random: no secret stands in the repository, not even an invented one."""
    rng = random.Random(seed)
    return [_HOLE.sub(lambda hole: _filled(hole, rng), line) for line in lines("secrets")]


def halves(sentences: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The half that rules may be chosen by, and the half that only tells how good they are."""
    return sentences[::2], sentences[1::2]


def _filled(hole: re.Match[str], rng: random.Random) -> str:
    if hole[2]:
        return "".join(rng.choices(_ALPHABETS[hole[1]], k=int(hole[2])))
    return _MADE[hole[1]](rng)


def _human(rng: random.Random) -> str:
    """As people make passwords: a word, a year or a number, perhaps a mark."""
    return rng.choice(_WORDS) + str(rng.choice((1, 12, 123, 88, 520, 1990, 2024, 123456))) + rng.choice(_MARKS)


def _uuid(rng: random.Random) -> str:
    return "-".join("".join(rng.choices(_ALPHABETS["hex"], k=size)) for size in (8, 4, 4, 4, 12))


def _jwt(rng: random.Random) -> str:
    return ".".join(start + "".join(rng.choices(_B64URL, k=40)) for start in ("eyJ", "eyJ", ""))


def _basic(rng: random.Random) -> str:
    return base64.b64encode(f"{rng.choice(_WORDS)}:{_human(rng)}".encode()).decode()


_MADE: dict[str, Callable[[random.Random], str]] = {"human": _human, "uuid": _uuid, "jwt": _jwt, "basic": _basic}
