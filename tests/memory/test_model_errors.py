"""What the person reads when the LLM or the embedder fails, and that nothing was stored then."""

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from support.fake_openai import FakeOpenAI, Fault
from tablestore_openmemory_mcp.errors import DimensionMismatch, ModelDenied, ModelError, ModelUnavailable
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
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
    assert fake.count(route) <= (3 if fault.status == 400 and route == "embeddings" else 1), "a text, or all texts?"
    assert service.list(scope).total == 0


def completion(content: object, finish: str = "stop", **message: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return json.dumps(
        {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


@pytest.mark.parametrize("route", ["chat", "embeddings"])
@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", ModelError, "OpenAI-compatible"),
        (b'{"choices": [{"ind', ModelError, "OpenAI-compatible"),
        (b"\xff\xfe{}", ModelError, "OpenAI-compatible"),
        (b"null", ModelError, "OpenAI-compatible"),
        (b"[1]", ModelError, "OpenAI-compatible"),
        (b'{"choices": null, "data": null}', ModelError, "OpenAI-compatible"),
        (b'{"data": [{"embedding": null}], "choices": "x"}', ModelError, "OpenAI-compatible|twice"),
        (b'{"error": {"message": "busy", "code": 502}}', ModelUnavailable, "error .502."),
        (b" " * 40_000_000, ModelError, "too long"),
    ],
    ids=lambda given: repr(given[:20]) if isinstance(given, bytes) else None,
)
def test_what_is_no_answer_of_the_api_is_told_so(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, route: Any, body: bytes, error: type, says: str
) -> None:
    with fake.failing(route, Fault.answers(body)), pytest.raises(error, match=says):
        service.add(scope, SECRET)
    assert fake.count(route) <= 2
    assert service.list(scope).total == 0


@pytest.mark.parametrize(
    "body",
    [
        completion([{"type": "text", "text": '{"facts": ["住在上海"]}'}]),
        completion({"facts": ["住在上海"]}),
        completion(None, reasoning='{"facts": ["住在上海"]}'),
    ],
)
def test_an_answer_in_another_field_or_form_is_read(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, body: bytes
) -> None:
    fake.fail_next("chat", Fault.answers(body))
    assert [o.memory for o in service.add(scope, "我住在上海").results] == ["住在上海"]


def test_a_content_filter_is_named(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.fail_next("chat", Fault.answers(completion(None, "content_filter")))
    with pytest.raises(ModelError, match="content filter"):
        service.add(scope, "我住在上海")
    assert fake.count("chat") == 1


def test_what_a_vendor_refuses_to_read_does_not_block_later_adds(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    """A text that was kept word for word while the LLM was away is asked about before the next one."""
    service = make(ADD_FALLBACK="verbatim")
    with fake.failing("chat", Fault.refused_key()):
        service.add(scope, SECRET)
    fake.fail_next("chat", Fault("status", 400, message="Input data may contain inappropriate content."))
    assert len(service.add(scope, "我住在上海").results) == 1
    fake.forget()
    assert len(service.add(scope, "我喜欢吃辣的东西").results) == 1
    assert fake.count("extraction") == 1
    assert {SECRET} < {m.text for m in service.list(scope).memories}


def test_what_answers_in_place_of_the_llm_is_an_outage(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service = make(ADD_FALLBACK="verbatim")
    with fake.failing("chat", Fault.garbage()):
        assert "word for word" in (service.add(scope, "我住在上海").message or "")


@pytest.mark.parametrize("stream_only", [False, True])
def test_an_answer_that_only_keeps_the_connection_alive_ends_at_the_deadline(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, stream_only: bool
) -> None:
    fake.model.stream_only = stream_only
    service.add(scope, "我喜欢吃辣的东西")  # the dialect is learned
    started = time.monotonic()
    with fake.failing("chat", Fault.blanks()), pytest.raises(ModelUnavailable, match="in time"):
        service.add(scope, "我住在上海", deadline=started + 1.5)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("key", ["在此填写密钥", "sk-x\nsk-y"])
def test_a_key_that_cannot_be_sent_is_told_and_not_shown(fake: FakeOpenAI, key: str) -> None:
    """Settings refuse one at the start (tests/stories/test_configuration.py); a program of one's own may not."""
    endpoint = Endpoint(key, fake.base_url)
    with pytest.raises(ModelDenied, match="OPENAI_API_KEY") as raised:
        endpoint.call("The LLM", "LLM_MODEL", lambda client, timeout: client.models.list(), time.monotonic() + 5)
    assert key not in str(raised.value)


def test_an_address_that_is_none_is_told(make: MakeService, scope: Scope) -> None:
    with pytest.raises(ModelDenied, match="OPENAI_BASE_URL"):
        make(OPENAI_BASE_URL="http://[::1/v1").add(scope, "我住在上海")


def test_why_an_endpoint_cannot_be_reached_is_told(make: MakeService, scope: Scope) -> None:
    service = make(OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    with pytest.raises(ModelUnavailable, match="cannot be reached: Connection refused"):
        service.add(scope, "我住在上海", deadline=time.monotonic() + 1)


@pytest.mark.parametrize(
    "fault", [Fault.throttled(), Fault.throttled(0), Fault.broken(500), Fault.broken(503), Fault.drop(), Fault.torn()]
)
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


def test_a_retry_after_may_be_a_date(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    started = time.time()
    fake.fail_next("chat", Fault.throttled(formatdate(started + 2.5, usegmt=True)))
    service.add(scope, "我住在上海")
    assert time.time() - started >= 1.4  # dates are in whole seconds


def test_a_retry_after_of_nothing_is_no_invitation_to_hammer(
    service: MemoryService, fake: FakeOpenAI, scope: Scope
) -> None:
    with fake.failing("chat", Fault.throttled(0)), pytest.raises(ModelUnavailable):
        service.add(scope, "我住在上海", deadline=time.monotonic() + 1.5)
    assert fake.count("chat") < 8


@pytest.mark.parametrize("retry_after", [600, formatdate(4_000_000_000, usegmt=True)])
def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, retry_after: float | str
) -> None:
    fake.fail_next("chat", Fault.throttled(retry_after))
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
        make().add(scope, "上海")


def test_a_text_longer_than_the_embedder_reads_is_found_by_its_beginning(make: MakeService, scope: Scope) -> None:
    service = make(MEMORY_PIPELINE="verbatim")
    [outcome] = service.add(scope, "我住在上海。" + "长" * 20_000).results
    assert len(outcome.memory) == 20_006
    assert service.search(scope, "住在上海")[0].score


# --- every exception of the SDK -----------------------------------------------------------------------------------


def exceptions_of_openai() -> list[type[Exception]]:
    import openai

    exported = [e for name in openai.__all__ if isinstance(e := getattr(openai, name), type)]
    return [e for e in exported if issubclass(e, openai.OpenAIError) and not issubclass(e, openai.APIStatusError)]


@pytest.mark.parametrize("kind", exceptions_of_openai(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_is_mapped(kind: type[Exception]) -> None:
    """Those that no request of ours raises today, too; those of a status come over the wire, below."""
    given = kind.__new__(kind)

    def fail(*_: object) -> None:
        raise given

    with pytest.raises(ModelError) as raised:
        Endpoint("sk-x", "http://127.0.0.1:1/v1").call("The LLM", "LLM_MODEL", fail, time.monotonic() + 0.1)
    assert raised.value.setting


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 418, 422, 425, 429, 451])
@pytest.mark.parametrize("route", ["chat", "embeddings"])
def test_every_status_is_mapped(
    service: MemoryService, fake: FakeOpenAI, scope: Scope, route: Any, status: int
) -> None:
    with fake.failing(route, Fault.broken(status)), pytest.raises(ModelError) as raised:
        service.add(scope, SECRET, deadline=time.monotonic() + 1)
    assert raised.value.setting
    assert raised.value.retry == (status in (408, 409, 425, 429))
    assert service.list(scope).total == 0
