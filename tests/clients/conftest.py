"""One keyless server for all tests of this folder that do not break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import Server


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's HOME; its data is in there, so that stdio servers can share it."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[Server]:
    with Server(home) as running:
        yield running


@pytest.fixture(scope="session")
def base(server: Server) -> str:
    """Its URL, without a path."""
    return f"http://127.0.0.1:{server.port}"
