import pytest

from support.emulator import Emulator


@pytest.fixture(scope="module")
def shared_emulator():
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(shared_emulator):
    yield shared_emulator
    shared_emulator.clear_faults()
