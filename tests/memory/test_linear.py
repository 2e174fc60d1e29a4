"""Everything that touches a text takes time in proportion to it (issue 11, 9): each pattern, each function of a text.

They are found by walking the packages, so that a new one is held to it as well. Time is that of the thread, compared
with itself: eight times the text may take 24 times as long (quadratic: 64), and 256 characters a tenth of a second.
"""

import ast
import contextlib
import importlib
import inspect
import pkgutil
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tablestore_emulator
import tablestore_openmemory_mcp
from support.growth import UNITS, fragments, growing
from tablestore_emulator.search.index import analysis, dates, phrases
from tablestore_emulator.search.query import minimum_should_match
from tablestore_emulator.search.schema import Analyzer
from tablestore_openmemory_mcp.memory.models.answer_parsing import cut_at, decisions_in, entries_in, facts_in
from tablestore_openmemory_mcp.memory.search.tokenizer import containment, tokens
from tablestore_openmemory_mcp.memory.validation import checked_text
from tablestore_openmemory_mcp.scope import valid_name
from tablestore_openmemory_mcp.server.caller import matches
from tablestore_openmemory_mcp.store.model import text_hash
from tablestore_openmemory_mcp.unicode_normalization import normalized

pytestmark = pytest.mark.slow  # a minute or more; `.ci/run` runs it

# Calls of `re` whose pattern is made of what someone else gave, and why that is bounded.
_MADE_AT_RUN_TIME = {
    "tablestore_emulator.search.query.evaluate": "a wildcard pattern has at most 32 characters",
    "tablestore_openmemory_mcp.memory.models.lenient_json": "one of a few quotation marks, escaped",
    "tablestore_emulator.search.index.dates": "made of our own pieces, each of a fixed width",
    "tablestore_emulator.rows.conditions": "at most two repeats, on texts of at most 512 characters",
}
_MODULES = [
    found.name
    for package in (tablestore_openmemory_mcp, tablestore_emulator)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not found.name.endswith("__main__")
]


def _tree(module: str) -> ast.Module:
    return ast.parse(Path(str(importlib.import_module(module).__file__)).read_text("utf-8"))


def _calls_of_re(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if name != "escape":
                yield node


def _patterns(module: str) -> list[tuple[re.Pattern[str], bool]]:
    """Those that the module holds, alone or among others, and those that are written where they are used; and whether
    each is looked for anywhere in a text, rather than at one place."""
    tree = _tree(module)
    found: list[tuple[re.Pattern[str], bool]] = []
    for name, value in vars(importlib.import_module(module)).items():
        among = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        patterns = [p for p in among if isinstance(p, re.Pattern) and isinstance(p.pattern, str)]
        found.extend((p, _is_searched(tree, name)) for p in patterns)
    for call in _calls_of_re(tree):
        if isinstance(call.args[0], ast.Constant):
            how = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            if how != "compile":  # those are held under a name
                found.append((re.compile(str(call.args[0].value)), how not in ("match", "fullmatch")))
    return found


def _is_searched(tree: ast.AST, name: str) -> bool:
    """Whether a pattern of this name is used otherwise than by .match() and .fullmatch()."""
    uses = {id(n) for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load)}
    at_one_place = {
        id(n.value)
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and n.attr in ("match", "fullmatch", "pattern")
    }
    return not uses or not uses <= at_one_place


def test_patterns_are_found() -> None:
    found = {module: _patterns(module) for module in _MODULES}
    assert sum(map(len, found.values())) > 50
    assert len(found["tablestore_openmemory_mcp.memory.credential_filter"]) > 15
    assert {searched for _, searched in found["tablestore_openmemory_mcp.memory.credential_filter"]} == {True, False}
    assert len(found["tablestore_emulator.search.index.analysis"]) > 1


@pytest.mark.parametrize("module", _MODULES)
def test_a_pattern_is_linear(module: str) -> None:
    for pattern, searched in _patterns(module):

        def run(text: str, pattern: re.Pattern[str] = pattern, searched: bool = searched) -> None:
            pattern.match(text)
            pattern.fullmatch(text)
            if searched:
                list(pattern.finditer(text))

        grown = growing(run, [*fragments(pattern), *UNITS])
        assert grown is None, f"{pattern.pattern}\n{grown}"


def test_no_pattern_is_made_of_what_a_stranger_gives() -> None:
    made = set()
    for module in _MODULES:
        functions = [f for f in ast.walk(_tree(module)) if isinstance(f, ast.FunctionDef)]
        if any(not isinstance(call.args[0], ast.Constant) for f in functions for call in _calls_of_re(f)):
            made.add(module)
    assert made == set(_MADE_AT_RUN_TIME)


# --- functions ------------------------------------------------------------------------------------------------------


def _functions(module: str) -> Iterator[Callable[[str], object]]:
    """The functions of a module that need nothing but one text."""
    for function in vars(importlib.import_module(module)).values():
        if inspect.isfunction(function) and function.__module__ == module and function.__name__[0] != "_":
            first, *others = [*inspect.signature(function).parameters.values(), None]
            needed = [p for p in others if p and p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
            if first and first.annotation is str and not needed and first.kind is first.POSITIONAL_OR_KEYWORD:
                yield function


_WITH_MORE: Mapping[str, Callable[[str], object]] = {
    "checked_text": lambda text: checked_text(text, "text", 10**9),
    "containment": lambda text: containment(text, text),
    "patterns of a token": lambda text: matches((text,), "a" * 256),
    "a token's stars": lambda text: matches(("*".join(text[:256]) + "*b",), "a" * 256),
    "names against a pattern": lambda text: matches(("*a*aa*b*c",), text),
    "fuzzy analyzer": lambda text: analysis.tokens(Analyzer("fuzzy", min_chars=1, max_chars=3), text),
    **{
        f"{name} analyzer": lambda text, name=name: analysis.tokens(Analyzer(name), text)  # type: ignore[misc]
        for name in ("single_word", "split", "min_word", "max_word")
    },
    "dates": lambda text: dates.milliseconds(text, ()),
    "minimum_should_match": lambda text: minimum_should_match.required(text, 3),
    "phrases": lambda text: phrases.exact(text.encode("utf-32-le"), text[: len(text) // 2].encode("utf-32-le")),
    "facts_in": facts_in,
    "decisions_in": decisions_in,
    "entries_in": entries_in,
    "cut_at": cut_at,
    "tokens": tokens,
    "text_hash": text_hash,
    "a user's name": lambda text: valid_name(text, "user_id"),
}
_ROOMS = [m for m in _MODULES if m.startswith("tablestore_openmemory_mcp.memory.")]


def _ignoring(function: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(Exception):  # a text may well be refused; how long that takes is the question
        function(text)


def test_functions_of_a_text_are_found() -> None:
    names = {function.__name__ for module in _ROOMS for function in _functions(module)}
    assert {"likeness_key", "repaired_text", "is_forgetting", "is_instruction", "facts_in", "cut_at"} <= names


@pytest.mark.parametrize("module", [m for m in _ROOMS if not m.endswith(".parsing")])
def test_a_function_of_a_text_is_linear(module: str) -> None:
    for function in _functions(module):
        grown = growing(partial(_ignoring, function), UNITS)
        assert grown is None, f"{function.__name__}: {grown}"


@pytest.mark.parametrize("name", sorted(_WITH_MORE))
def test_what_needs_more_than_a_text_is_linear(name: str) -> None:
    assert growing(partial(_ignoring, _WITH_MORE[name]), UNITS) is None


# What the package held before, and how it grew: the test would have told.
_OLD = {
    "marks at the ends": r"^[\s\"'“”‘’「」]+|[\s.,;:!?。，、；：！？…~～\"'“”‘’「」]+$",
    "requests": r"^(请|麻烦|帮我|你|(我|用户)?(要求|希望|想让?|让|要)你?)*忘掉",
    "web tokens": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
}


@pytest.mark.parametrize("name", _OLD)
def test_what_grows_faster_is_found(name: str) -> None:
    units = ("请", "我要你", ".", "eyJ-", "a")
    most = 60 if name == "requests" else 10_000  # enough to tell, without hanging
    assert growing(lambda text: list(re.finditer(_OLD[name], text[:most])), units)


@given(st.text("ab*[?", max_size=8), st.text("ab[?", max_size=10))
def test_a_token_s_pattern_means_what_a_regular_expression_would(pattern: str, name: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    assert matches((pattern,), name) == (expected is not None)


@given(st.text("aé한\u1100\u0301\u0316\u0334\u0327\u3099\uff9e\u0f73\u0344ﬁ", min_size=64, max_size=300))
def test_normalization_is_the_standard_s(text: str) -> None:
    for form in ("NFC", "NFKC", "NFD", "NFKD"):
        assert normalized(form, text) == unicodedata.normalize(form, text)
