"""What each module of the project imports, read from its source: nothing is run."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TREES = (ROOT / "code", ROOT / "emulator")


class When(Enum):
    """When the import is made. LATER: on first need, inside a function. TYPING: by the type checker only."""

    AT_IMPORT = 1
    LATER = 2
    TYPING = 3


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: "package.module.name", or "package.module" where the module itself is imported."""

    module: str
    target: str
    when: When

    def __str__(self) -> str:
        return f"{self.module} imports {self.target}"


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    is_package: bool
    tree: ast.Module


Sources = Mapping[str, Source]  # by the module's name


def sources() -> dict[str, Source]:
    """Every module of code/ and emulator/."""
    found = {}
    for root in _TREES:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Source(path, is_package, ast.parse(path.read_text("utf-8")))
    return found


def imports(given: Sources) -> list[Import]:
    return [
        Import(name, target, when)
        for name, source in given.items()
        for node, when in _statements(source.tree, When.AT_IMPORT)
        for target in _targets(name, source.is_package, node)
    ]


def module_of(target: str, given: Sources) -> str | None:
    """The module of ours that holds `target`; None if it is somebody else's."""
    while target not in given:
        target = target.rpartition(".")[0]
        if not target:
            return None
    return target


def at_import(given: Sources) -> dict[str, set[str]]:
    """For each module, those of ours that Python runs when it is imported: the packages on the way too, except the
    ones around the module itself, which are on their way already."""
    graph: dict[str, set[str]] = {name: set() for name in given}
    for one in imports(given):
        found = module_of(one.target, given)
        if one.when is not When.AT_IMPORT or found is None:
            continue
        graph[one.module].add(found)
        parts = found.split(".")
        on_the_way = {".".join(parts[:n]) for n in range(1, len(parts))}
        graph[one.module] |= {p for p in on_the_way & given.keys() if not f"{one.module}.".startswith(f"{p}.")}
        graph[one.module].discard(one.module)
    return graph


def _statements(node: ast.AST, when: When) -> Iterator[tuple[ast.Import | ast.ImportFrom, When]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import() | ast.ImportFrom():
                yield child, when
            case ast.If(
                test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"), body=body, orelse=rest
            ):
                yield from _statements(ast.Module(body, []), When.TYPING)
                yield from _statements(ast.Module(rest, []), when)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                yield from _statements(child, When.LATER if when is When.AT_IMPORT else when)
            case _:
                yield from _statements(child, when)


def _targets(module: str, is_package: bool, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
        return
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
        base = ".".join([*parts, *([base] if base else [])])
    yield from (f"{base}.{name.name}" for name in node.names)
