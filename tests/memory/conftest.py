"""The service over HTTP to a fake endpoint, and over a store: a plain one everywhere, the real one where it matters."""

from collections.abc import Callable, Iterator

import pytest

from support.fake_openai import FakeOpenAI
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings

DIMENSION = 256

MakeService = Callable[..., MemoryService]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as endpoint:
        yield endpoint


@pytest.fixture
def scope() -> Scope:
    return Scope("张三", "cline")


@pytest.fixture
def plain() -> PlainStore:
    return PlainStore()


@pytest.fixture
def make(fake: FakeOpenAI, plain: PlainStore) -> Iterator[MakeService]:
    """`make(store=…, VARIABLE=…)`: a service with the fake endpoint; `OPENAI_API_KEY=""` for one without."""
    made: list[MemoryService] = []

    def build(store: object = None, **environ: str) -> MemoryService:
        given = {**fake.environ(), "TABLESTORE_VECTOR_DIMENSION": str(DIMENSION), "STORE": "embedded", **environ}
        if not given["OPENAI_API_KEY"]:
            given["OPENAI_BASE_URL"] = ""
        made.append(MemoryService.from_settings(Settings.load(given), store or plain))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for service in made:
        service.close()


@pytest.fixture
def service(make: MakeService) -> MemoryService:
    return make()


@pytest.fixture
def keyless(make: MakeService) -> MemoryService:
    return make(OPENAI_API_KEY="")
