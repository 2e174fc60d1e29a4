"""What the stories stand on: a Tablestore emulator, a model endpoint and servers as processes, spoken to over TCP.

One of each per module, since starting them takes most of the time: tests that share one use users of their own.
"""

from collections.abc import Iterator

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.processes import Server, tablestore_environ


@pytest.fixture(scope="module")
def llm() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def tablestore() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def cloud(tablestore: Emulator, llm: FakeOpenAI) -> dict[str, str]:
    """The variables of a server that has everything: Tablestore and a model."""
    return {**tablestore_environ(tablestore), **llm.environ()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cloud: dict[str, str]) -> Iterator[Server]:
    """A server that has everything."""
    with Server(tmp_path_factory.mktemp("cloud"), **cloud) as running:
        yield running


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has nothing, as a stranger starts it: with the local embedder."""
    with Server(tmp_path_factory.mktemp("keyless"), EMBEDDER="auto") as running:
        yield running
