"""Whether what touches a text takes time in proportion to its length, and texts that would show that it does not."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

SMALL = (16, 25, 40, 64, 100, 160, 256)  # where exponential growth shows before it hangs
LESS, MORE = 1024, 8192
SMALL_SECONDS = 0.1  # of thread time, for 256 characters: thousands of times what any takes
FLOOR = 0.02  # seconds below which a time is noise
MOST = 24.0  # times as long for eight times as much: linear is 8, quadratic 64

# What people, models and attackers repeat.
UNITS = (
    *"a0 .\t\n\"'`-_/\\:;,!?=+*#@$%^&(){}[]<>|~…。，：；！「」“”是我的忘é\u0301\ufdfaДß🙂",
    "ab ", "a.", "a-", "a_", "a/", "Ab", "a1", "1.", "xX1-", "'\"", "{[", "[{", "{}", "\\\\", '\\"', '","', "```",
    "``` ",     "我要你", "请你", "把我", "别再", "删除所有", "忘掉", "所有记忆", "忽略之前", "密码是", "密码是a",
    "密码 1", "token=", "token is",
    "eyJ-", "eyJ.", "eyJa.eyJ", "sk-", "sk-a1", "://a:", "://a:b", "Bearer ", "Basic ", "AKIA", "SG.", "-----BEGIN ",
    "forget ", "please ", "delete all ", "user wants to ", "ignore all ", "you ", "all the ", "memory ", "\u0301\u0316",
    "curl -u a:", "docker login -p", "echo a|", "password for a b ", "<think>", "</think>", "◁/think▷", '{"facts":',
    '{"a":[', "{'a':", '"a":1,', "[1,", "- a\n", "1. a\n", "a\n", " \n", "2026-01-01", "\\u0041", "\\u",
)  # fmt: skip


def texts(unit: str, size: int) -> Iterator[str]:
    """`unit` again and again, and with what stands in the way of a match at either end."""
    run = unit * (size // len(unit) + 1)
    yield run[:size]
    yield f"a{run[: size - 2]}b"


def growing(run: Callable[[str], object], units: Sequence[str]) -> str | None:
    """The unit, and how `run` grew on it, of the first on which it grows faster than its text; None if none does."""
    for unit in units:
        for shape in range(2):
            grown = _growth(run, unit, shape)
            if grown:
                return f"{unit!r} (shape {shape}): {grown}"
    return None


def _growth(run: Callable[[str], object], unit: str, shape: int) -> str | None:
    for size in SMALL:
        took = _seconds(run, list(texts(unit, size))[shape], 1)
        if took > SMALL_SECONDS and _seconds(run, list(texts(unit, size))[shape], 2) > SMALL_SECONDS:
            return f"{took:.2f} s for {size} characters"
    short, long = (list(texts(unit, size))[shape] for size in (LESS, MORE))
    if _seconds(run, long, 1) < FLOOR:
        return None
    before, after = _seconds(run, short, 3), _seconds(run, long, 3)
    return f"{before:.4f} s for {LESS} characters, {after:.4f} s for {MORE}" if after > MOST * before else None


def _seconds(run: Callable[[str], object], text: str, attempts: int) -> float:
    took = []
    for _ in range(attempts):
        started = time.thread_time()
        run(text)
        took.append(time.thread_time() - started)
    return min(took)


def fragments(pattern: re.Pattern[str], most: int = 24) -> list[str]:
    """Texts that parts of `pattern` match: its literals, a member of each class, and some of them one after another."""
    atoms = list(dict.fromkeys(_atoms(parser.parse(pattern.pattern, pattern.flags))))
    short = sorted(atoms, key=len)[:6] + atoms[:6]
    pairs = ["".join(pair) for pair in permutations(dict.fromkeys(short), 2)]
    return list(dict.fromkeys(atoms[:most] + pairs[:: len(pairs) // most + 1]))


def _atoms(parsed: Any) -> Iterator[str]:
    word = ""
    for op, value in parsed:
        if op is constants.LITERAL:
            word += chr(value)
            continue
        if word:
            yield word
        word = ""
        yield from _inside(op, value)
    if word:
        yield word


def _inside(op: Any, value: Any) -> Iterator[str]:
    if op is constants.IN:
        yield from _members(value)
    elif op is constants.NOT_LITERAL or op is constants.ANY:
        yield "a"
    elif op is constants.BRANCH:
        for branch in value[1]:
            yield from _atoms(branch)
    elif isinstance(value, tuple | list):  # repeats, groups, lookarounds: the pattern inside is the last
        for part in value:
            if isinstance(part, parser.SubPattern):
                yield from _atoms(part)
    elif isinstance(value, parser.SubPattern):
        yield from _atoms(value)


def _members(choices: Any) -> Iterator[str]:
    """Up to four characters of a class."""
    samples = {"DIGIT": "7", "SPACE": " ", "WORD": "w", "NOT_DIGIT": "d", "NOT_SPACE": "s", "NOT_WORD": "-"}
    found = []
    for op, value in choices:
        if op is constants.LITERAL:
            found.append(chr(value))
        elif op is constants.RANGE:
            found.append(chr(value[0]))
        elif op is constants.CATEGORY:
            found.append(samples[str(value).removeprefix("CATEGORY_").removeprefix("UNI_")])
    yield from found[:4]
    if (constants.NEGATE, None) in choices:
        yield next(c for c in "a-我 1" if c not in found)
