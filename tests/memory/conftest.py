"""The service over HTTP to a fake endpoint, and over a store: a plain one everywhere, the real one where it matters."""

import functools
import uuid
from collections.abc import Callable, Iterator

import pytest

from support.emulator import Emulator, connect
from support.fake_openai import FakeOpenAI
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.memory.models.local.universal_sentence_encoder import UniversalSentenceEncoder
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import Settings
from tablestore_openmemory_mcp.store.store import TablestoreStore

DIMENSION = 256

MakeService = Callable[..., MemoryService]
OpenStore = Callable[..., TablestoreStore]


@pytest.fixture(scope="session", autouse=True)
def loaded_once() -> Iterator[None]:
    """The local embedder's weights are loaded once for all tests of this process, by the first that needs them."""
    load = UniversalSentenceEncoder.load
    encode = functools.cache(lambda: load(UniversalSentenceEncoder()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UniversalSentenceEncoder, "load", lambda _: encode())
        yield


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


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def open_store(request: pytest.FixtureRequest) -> Iterator[OpenStore]:
    """`open_store(prefix, VARIABLE=…)`: one more instance's store on the tables of that prefix."""
    stores: list[TablestoreStore] = []
    prefixes: set[str] = set()

    def build(prefix: str, **environ: str) -> TablestoreStore:
        prefixes.add(prefix)
        emulator: Emulator = request.getfixturevalue("emulator")
        given = {
            "TABLESTORE_ENDPOINT": emulator.endpoint,
            "TABLESTORE_INSTANCE_NAME": emulator.instance,
            "TABLESTORE_ACCESS_KEY_ID": emulator.key_id,
            "TABLESTORE_ACCESS_KEY_SECRET": emulator.secret,
            "TABLESTORE_TABLE_NAME": prefix,
            "TABLESTORE_VECTOR_DIMENSION": str(DIMENSION),
            "MEMORY_PIPELINE": "verbatim",
            "EMBEDDER": "none",
        }
        stores.append(TablestoreStore.open(Settings.load({**given, **environ})))
        return stores[-1]

    yield build
    for store in stores:
        store.close()
    if prefixes:  # an instance takes 64 tables
        drop_tables(request.getfixturevalue("emulator"), tuple(prefixes))


def drop_tables(emulator: Emulator, prefixes: tuple[str, ...]) -> None:
    """Those whose names begin with one of `prefixes`."""
    client = connect(emulator)
    for table, index in client.list_search_index(None):
        if table.startswith(prefixes):
            client.delete_search_index(table, index)
    for table in client.list_table():
        if table.startswith(prefixes):
            client.delete_table(table)


@pytest.fixture
def prefix() -> str:
    """Of tables that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["plain", "tablestore"])
def store(
    request: pytest.FixtureRequest, plain: PlainStore, open_store: OpenStore, prefix: str
) -> PlainStore | TablestoreStore:
    """Both stores, for tests of what may depend on which it is."""
    return plain if request.param == "plain" else open_store(prefix)


@pytest.fixture
def make(fake: FakeOpenAI, plain: PlainStore) -> Iterator[MakeService]:
    """`make(store=…, VARIABLE=…)`: a service with the fake endpoint; `OPENAI_API_KEY=""` for one without, and without
    an embedder."""
    made: list[MemoryService] = []

    def build(store: object = None, **environ: str) -> MemoryService:
        given = {**fake.environ(), "TABLESTORE_VECTOR_DIMENSION": str(DIMENSION), "STORE": "embedded", **environ}
        if not given["OPENAI_API_KEY"]:
            given = {"EMBEDDER": "none", **given, "OPENAI_BASE_URL": ""}
        made.append(MemoryService.from_settings(Settings.load(given), store or plain))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for service in made:
        service.close()


@pytest.fixture
def service(make: MakeService) -> MemoryService:
    return make()


@pytest.fixture
def serving(make: MakeService, store: PlainStore | TablestoreStore) -> MemoryService:
    """Like `service`, over either store."""
    return make(store)


@pytest.fixture
def keyless(make: MakeService) -> MemoryService:
    """Without a key and without an embedder: by words."""
    return make(OPENAI_API_KEY="")
