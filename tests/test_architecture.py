"""The arrows and the rooms, as docs/architecture.md draws them. Each rule is also shown to fail: its `wrong` is a line
that a module must not have, and the rule has to name it."""

import ast
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from support import imports
from support.imports import Source, Sources, at_import, module_of
from support.module_globals import holds_a_client

P = "tablestore_openmemory_mcp"
TESTS = Path(__file__).parent
MOST_MODULES = 12  # in one folder, the package's __init__ not counted

# What each room of the server may import of the others. "values": the modules beside the rooms that know no room.
VALUES = frozenset(
    {
        *("embedding_choice", "errors", "machine", "proxy_variables", "scope", "settings", "single_flight"),
        *("unicode_normalization", "values"),
    }
)
ROOMS: dict[str, frozenset[str]] = {
    "store": VALUES,
    "memory": VALUES | {"store"},
    "server": VALUES | {"memory", "store"},  # of both only what stands in a result: see SEEN_BY_THE_SERVER
    "composition": VALUES | {"store", "memory", "server"},
    "commands": VALUES | {"store", "memory", "server", "composition"},
    "fc": VALUES | {"server", "composition", "commands"},
    "cli": VALUES | {"server", "composition", "commands", "fc"},
}
SEEN_BY_THE_SERVER = {f"{P}.memory.model", f"{P}.store.model"}
# Who may import an SDK, wholly or in part.
SDKS = {"tablestore": (f"{P}.store", "tablestore_emulator"), "mem0": (f"{P}.memory.mem0",)}
ENVIRONMENT = {
    P: "how many threads multiply a matrix, which numpy reads when it is imported",
    f"{P}.cli": "hands it to Settings",
    "index": "hands it to Settings: the entry of Function Compute's built-in runtimes",
    f"{P}.store.client.embedded": "a child process gets its parent's",
    f"{P}.memory.mem0.engine": "Mem0 reads its switches from there while it is imported",
    "tablestore_emulator.protocol.auth": "the emulator's key, which no command line should show",
}


@cache
def _sources() -> dict[str, Source]:
    return imports.sources()


def _room(module: str) -> str:
    """The part of the server that a module belongs to; "" for the package itself, "…" for what is not in it."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == P else "…"


def _within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


# --- the rules: each returns what breaks it -------------------------------------------------------------------------


def arrows(given: Sources) -> list[str]:
    """The rooms import one another in one direction only, types included."""
    wrong = []
    for one in imports.imports(given):
        source, target = _room(one.module), _room(module_of(one.target, given) or "")
        if source in ("…", "", "__main__") or target in ("…", "", source):
            continue
        if target not in ROOMS.get(source, VALUES):
            wrong.append(str(one))
    return wrong


def the_server_sees_results_only(given: Sources) -> list[str]:
    return [
        str(one)
        for one in imports.imports(given)
        if _room(one.module) == "server"
        and _room(module := module_of(one.target, given) or "") in ("memory", "store")
        and module not in SEEN_BY_THE_SERVER
    ]


def the_emulator_stands_alone(given: Sources) -> list[str]:
    return [str(i) for i in imports.imports(given) if _within(i.module, "tablestore_emulator") and _within(i.target, P)]


def nothing_imports_the_emulator(given: Sources) -> list[str]:
    """The embedded store runs in a process of its own."""
    return [
        str(one)
        for one in imports.imports(given)
        if _within(one.target, "tablestore_emulator") and not _within(one.module, "tablestore_emulator")
    ]


def sdks(given: Sources) -> list[str]:
    return [
        str(one)
        for one in imports.imports(given)
        for sdk, rooms in SDKS.items()
        if _within(one.target, sdk) and not any(_within(one.module, room) for room in rooms)
    ]


def models_know_nothing_of_an_add(given: Sources) -> list[str]:
    return [
        str(one)
        for one in imports.imports(given)
        if _within(one.module, f"{P}.memory.models")
        and _within(one.target, f"{P}.memory")
        and not _within(one.target, f"{P}.memory.models")
        and not _within(one.target, f"{P}.memory.validation")
    ]


def search_knows_nothing_of_an_add(given: Sources) -> list[str]:
    return [
        str(one)
        for one in imports.imports(given)
        if _within(one.module, f"{P}.memory.search")
        and (_within(one.target, f"{P}.memory.add") or _within(one.target, f"{P}.memory.mem0"))
    ]


def environment(given: Sources) -> list[str]:
    return [
        name
        for name, source in given.items()
        if name not in ENVIRONMENT
        and any(
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in ("environ", "environb", "getenv", "getenvb", "putenv")
            for node in ast.walk(source.tree)
        )
    ] + [str(i) for i in imports.imports(given) if re.fullmatch(r"os\.(\*|environb?|getenvb?|putenv)", i.target)]


def circles(given: Sources) -> list[str]:
    """Among what is run when a module is imported."""
    try:
        TopologicalSorter(at_import(given)).prepare()
    except CycleError as e:
        return [" → ".join(reversed(e.args[1]))]
    return []


def packages_without_a_word(given: Sources) -> list[str]:
    return [name for name, source in given.items() if source.is_package and not ast.get_docstring(source.tree)]


def crowded_folders(given: Sources) -> list[str]:
    counts: dict[str, int] = {}
    for source in given.values():
        if not source.is_package:
            folder = str(source.path.parent.relative_to(imports.ROOT))
            counts[folder] = counts.get(folder, 0) + 1
    return [f"{folder}: {count}" for folder, count in counts.items() if count > MOST_MODULES]


def rebound_globals(given: Sources) -> list[str]:
    """What a function keeps in its module is a client sooner or later."""
    return [name for name, source in given.items() if any(isinstance(n, ast.Global) for n in ast.walk(source.tree))]


RULES: list[tuple[Callable[[Sources], list[str]], str, str]] = [
    # (rule, a module, the line that it must not have)
    (arrows, f"{P}.store.model", "from ..memory.model import Hit"),
    (arrows, f"{P}.store.store", "def later():\n    from ..server import app"),
    (arrows, f"{P}.memory.model", "if TYPE_CHECKING:\n    from ..server.caller import Caller"),
    (arrows, f"{P}.server.app", "from ..fc import context"),
    (arrows, f"{P}.server.app", "import tablestore_openmemory_mcp.composition"),
    (arrows, f"{P}.settings", "from .store import model"),
    (the_server_sees_results_only, f"{P}.server.tools.calls", "from ...memory.service import MemoryService"),
    (the_emulator_stands_alone, "tablestore_emulator.errors", "from tablestore_openmemory_mcp import scope"),
    (nothing_imports_the_emulator, f"{P}.store.client.embedded", "import tablestore_emulator.cli"),
    (sdks, f"{P}.memory.service", "import tablestore"),
    (sdks, f"{P}.server.logs", "def later():\n    from tablestore.error import OTSClientError"),
    (sdks, f"{P}.memory.service", "from mem0.memory.main import Memory"),
    (models_know_nothing_of_an_add, f"{P}.memory.models.chat", "from ..add import planner"),
    (models_know_nothing_of_an_add, f"{P}.memory.models.chat", "from ..context import ScopeContext"),
    (search_knows_nothing_of_an_add, f"{P}.memory.search.scope_search", "from ..add import similar_memories"),
    (environment, f"{P}.settings", "os.environ"),
    (environment, f"{P}.server.logs", "os.getenv('HOME')"),
    (environment, f"{P}.composition", "from os import environ"),
    (circles, "tablestore_emulator.search.index.nested", "from ..search_index import SearchIndex"),
    (circles, f"{P}.scope", "from .settings import Settings"),
    (circles, f"{P}.unicode_normalization", "class A:\n    from .scope import Scope"),
    (rebound_globals, f"{P}.store.store", "def later():\n    global client"),
]


@pytest.mark.parametrize(
    "rule", [*dict.fromkeys(rule for rule, _, _ in RULES), packages_without_a_word, crowded_folders]
)
def test_the_house_keeps(rule: Callable[[Sources], list[str]]) -> None:
    assert rule(_sources()) == []


@pytest.mark.parametrize(("rule", "module", "line"), RULES)
def test_a_rule_is_noticed_when_broken(rule: Callable[[Sources], list[str]], module: str, line: str) -> None:
    old = _sources()[module]
    tree = ast.Module([*old.tree.body, *ast.parse(line).body], [])
    broken = rule({**_sources(), module: dataclasses.replace(old, tree=tree)})
    assert len(broken) == 1
    assert module in broken[0]


def test_what_a_type_checker_alone_imports_makes_no_circle() -> None:
    old = _sources()[f"{P}.scope"]
    line = ast.parse("if TYPE_CHECKING:\n    from .settings import Settings")
    tree = ast.Module([*old.tree.body, *line.body], [])
    assert circles({**_sources(), f"{P}.scope": dataclasses.replace(old, tree=tree)}) == []


def test_a_package_without_a_word_is_noticed() -> None:
    name = f"{P}.memory.add"
    silent = dataclasses.replace(_sources()[name], tree=ast.parse("X = 1"))
    assert packages_without_a_word({**_sources(), name: silent}) == [name]


def test_a_crowded_folder_is_noticed() -> None:
    one = _sources()[f"{P}.memory.add.cycle"]
    more = {f"{P}.memory.add.more{n}": dataclasses.replace(one) for n in range(MOST_MODULES)}
    (found,) = crowded_folders({**_sources(), **more})
    assert found.startswith("code/tablestore_openmemory_mcp/memory/add: ")


def test_exceptions_are_still_needed() -> None:
    """Whoever may read the environment does, and every room is there."""
    without = dict.fromkeys(ENVIRONMENT, "")
    for name in without:
        assert "environ" in ast.unparse(_sources()[name].tree), name
    assert {_room(name) for name in _sources()} == {*ROOMS, *VALUES, "", "…", "__main__"}


# --- what modules hold ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    """See support/module_globals.py: a process of its own, since an import may change what other tests see."""
    command = [sys.executable, "-m", "support.module_globals"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=300, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_no_module_holds_a_client(held: dict[str, Any]) -> None:
    assert held["globals"] > 1000
    assert held["clients"] == []


def test_what_functions_keep_is_made_of_texts(held: dict[str, Any]) -> None:
    """A cache of a function is a global too: those that there are keep what they made of texts and numbers."""
    assert {name for name in held["cached"] if not name.endswith(".urlsplit")} == {
        f"{P}.memory.search.unicode_folding._letters",
        f"{P}.memory.search.unicode_folding._simplified",
        f"{P}.memory.search.tokenizer._terms",
        "tablestore_emulator.protocol.auth._v4_key",
        "tablestore_emulator.search.index.dates._compile",
    }


def test_a_client_is_noticed() -> None:
    import httpx

    @dataclasses.dataclass(frozen=True)
    class Wrapped:
        client: object

    with httpx.Client() as client:
        for value in (client, [client], {"a": (1, client)}, Wrapped(client), sys.stdout, object()):
            assert holds_a_client(value)
    for value in ("", None, (1, "a"), re.compile("a"), Wrapped("a"), list[str], len):
        assert not holds_a_client(value)
