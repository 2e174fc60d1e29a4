import os
from collections.abc import Iterator

import pytest

from support.emulator import Emulator
from support.real_instance import RealInstance


@pytest.fixture(scope="module")
def shared_emulator() -> Iterator[Emulator | RealInstance]:
    if os.environ.get("REAL_TABLESTORE"):  # make test-real
        instance = RealInstance()
        yield instance
        instance.drop_tables()
        return
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator: Emulator | RealInstance) -> Iterator[Emulator | RealInstance]:
    """The tests' Tablestore: an emulator, or a real instance that knows no faults."""
    yield shared_emulator
    shared_emulator.clear_faults()
