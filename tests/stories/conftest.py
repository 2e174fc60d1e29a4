"""What the stories stand on: a Tablestore emulator and a model endpoint as a server process meets them, over TCP."""

from collections.abc import Iterator

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.processes import tablestore_environ


@pytest.fixture
def llm() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def tablestore() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def cloud(tablestore: Emulator, llm: FakeOpenAI) -> dict[str, str]:
    """The variables of a server that has everything: Tablestore and a model."""
    return {**tablestore_environ(tablestore), **llm.environ()}
