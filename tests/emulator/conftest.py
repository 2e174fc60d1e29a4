"""One in-memory emulator per test module: tests keep apart by table names."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.emulator import Emulator, connect
from support.search import indexed_table
from support.tables import create_table

_numbers = itertools.count()


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def client(emulator: Emulator) -> Any:
    return connect(emulator)


@pytest.fixture
def make_table(client: Any) -> Iterator[Callable[..., str]]:
    """Create a table nobody else uses, for one test; arguments as create_table's. Its name."""
    made = []

    def make(*columns: tuple[str, str], **options: Any) -> str:
        made.append(f"t{next(_numbers)}")
        create_table(client, made[-1], *columns, **options)
        return made[-1]

    yield make
    for name in set(made) & set(client.list_table()):
        for _, index in client.list_search_index(name):
            client.delete_search_index(name, index)
        client.delete_table(name)


@pytest.fixture
def table(client: Any, request: pytest.FixtureRequest) -> str:
    """A table named after the test, with the index of `memory_fields`."""
    return indexed_table(client, "".join(c if c.isalnum() else "_" for c in request.node.name)[:250])
