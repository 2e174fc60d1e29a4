from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from support.inprocess import PlainMemory, plain_app, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def memory() -> PlainMemory:
    return PlainMemory()


@pytest.fixture
def base(memory: PlainMemory) -> Iterator[str]:
    """A server with default settings over `memory`."""
    with serving(plain_app(memory)) as url:
        yield url


@pytest.fixture
async def http(base: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base, timeout=10) as client:
        yield client
