"""What the person reads when the LLM or the embedder fails, and that nothing was stored then."""

import time
from collections.abc import Callable

import pytest

from support.fake_openai import FakeOpenAI, Fault
from tablestore_openmemory_mcp.errors import DimensionMismatch, ModelDenied, ModelError, ModelUnavailable
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

MakeService = Callable[..., MemoryService]
SECRET = "我的秘密是每天晚上十点给猫讲故事"

FAILURES = [
    (Fault.refused_key(), ModelDenied, "OPENAI_API_KEY"),
    (Fault.no_quota(), ModelDenied, "OPENAI_API_KEY"),
    (Fault("status", 429, message="You exceeded your current quota, please check your plan."), ModelDenied, "quota"),
    (Fault("status", 400, message="Access denied, your account is in arrears. (Arrearage)"), ModelDenied, "quota"),
    (Fault.no_such_model(), ModelDenied, "MODEL and OPENAI_BASE_URL"),
    (Fault.garbage(), ModelError, "OPENAI_BASE_URL"),
    (Fault("status", 400, message="Output data may contain inappropriate content."), ModelError, "inappropriate"),
]


@pytest.mark.parametrize("route", ["chat", "embeddings"])
@pytest.mark.parametrize(("fault", "error", "says"), FAILURES)
def test_a_refusal_is_told_at_once_with_the_variable_to_look_at(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, route: str, fault: Fault, error: type, says: str
) -> None:
    with fake.failing(route, fault), pytest.raises(error) as raised:  # type: ignore[arg-type]
        service.add(scope, SECRET)
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "sk-fake" not in str(raised.value)
    assert fake.count(route) == 1
    assert service.list(scope).total == 0


@pytest.mark.parametrize("fault", [Fault.throttled(), Fault.broken(500), Fault.broken(503), Fault.drop()])
@pytest.mark.parametrize("route", ["chat", "embeddings"])
def test_a_passing_trouble_is_waited_out(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, route: str, fault: Fault
) -> None:
    fake.fail_next(route, fault, fault)  # type: ignore[arg-type]
    assert service.add(scope, "我住在上海").results
    assert fake.count(route) == 3


@pytest.mark.parametrize("fault", [Fault.throttled(), Fault.broken(502), Fault.drop(), Fault.hang()], ids=str)
def test_a_lasting_trouble_ends_at_the_deadline(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, fault: Fault
) -> None:
    started = time.monotonic()
    with fake.failing("chat", fault), pytest.raises(ModelUnavailable, match="The LLM") as raised:
        service.add(scope, "我住在上海", deadline=started + 1.5)
    assert time.monotonic() - started < 10
    assert raised.value.retry
    assert service.list(scope).total == 0


def test_retry_after_is_kept(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.fail_next("chat", Fault.throttled(retry_after=1))
    started = time.monotonic()
    service.add(scope, "我住在上海")
    assert time.monotonic() - started >= 1


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    fake.fail_next("chat", Fault.throttled(retry_after=600))
    with pytest.raises(ModelUnavailable, match="throttling"):
        service.add(scope, "我住在上海")
    assert fake.count("chat") == 1


def test_an_explanation_that_quotes_the_request_is_left_out(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    fault = Fault("status", 400, message=f"Bad content: 'Input:\nuser: {SECRET}'")
    with fake.failing("chat", fault), pytest.raises(ModelError) as raised:
        service.add(scope, SECRET)
    assert "秘密" not in str(raised.value)


def test_the_wrong_dimension_is_explained_before_anything_is_written(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    fake.model.takes_dimensions = False
    fake.model.default_dimension = 1024
    with pytest.raises(DimensionMismatch, match="TABLESTORE_VECTOR_DIMENSION=1024"):
        make().add(scope, "我住在上海")
    assert make(OPENAI_API_KEY="").list(scope).total == 0


def test_a_dimension_that_the_model_does_not_offer_is_explained(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    fake.model.dimensions = frozenset({512, 1024})
    fake.model.default_dimension = 1024
    with pytest.raises(DimensionMismatch, match="TABLESTORE_VECTOR_DIMENSION"):
        make().search(scope, "上海")


def test_a_text_longer_than_the_embedder_reads_is_found_by_its_beginning(make: MakeService, scope: Scope) -> None:
    service = make(MEMORY_PIPELINE="verbatim")
    [outcome] = service.add(scope, "我住在上海。" + "长" * 20_000).results
    assert len(outcome.memory) == 20_006
    assert service.search(scope, "住在上海")[0].score
