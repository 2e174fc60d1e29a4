import os

import pytest

from support.emulator import Emulator
from support.real_instance import RealInstance


@pytest.fixture(scope="module")
def shared_emulator():
    if os.environ.get("REAL_TABLESTORE"):  # make test-real
        instance = RealInstance()
        yield instance
        instance.drop_tables()
        return
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator):
    """The tests' Tablestore: an emulator, or a real instance that knows no faults."""
    yield shared_emulator
    shared_emulator.clear_faults()
