"""Which endpoint the LLM and the embedder are asked at, in what form, and what is said when one of them fails."""

import time
from collections.abc import Callable

import pytest

from support.fake_openai import FakeOpenAI, Fault
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import ModelDenied, ModelTimedOut
from tablestore_openmemory_mcp.memory.models.answer_schemas import facts_form, update_form
from tablestore_openmemory_mcp.memory.models.endpoint_dialect import Dialect, adapted
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.settings import ConfigurationError, Settings

MakeService = Callable[..., MemoryService]


def test_an_embedder_elsewhere_is_asked_there_with_its_own_key(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    with FakeOpenAI(api_key="sk-embedder") as other:
        service = make(EMBEDDER_BASE_URL=other.base_url, EMBEDDER_API_KEY="sk-embedder")
        assert service.add(scope, "我住在上海").results
        assert (fake.count("chat"), fake.count("embeddings")) == (1, 0)
        assert (other.count("chat"), other.count("embeddings")) == (0, 1)
        [memory] = service.list(scope).memories
        with other.failing("embeddings", Fault.refused_key()), pytest.raises(ModelDenied, match="EMBEDDER_API_KEY"):
            service.update(scope, memory.id, "我住在北京")
        with other.failing("embeddings", Fault.garbage()), pytest.raises(ModelDenied, match="EMBEDDER_BASE_URL"):
            service.update(scope, memory.id, "我住在北京")
        with other.failing("embeddings", Fault.refused_key()):
            assert "EMBEDDER_API_KEY" in (service.search(scope, "上海")[0].note or "")
        with fake.failing("chat", Fault.refused_key()), pytest.raises(ModelDenied, match="OPENAI_API_KEY"):
            service.add(scope, "我喜欢吃辣的东西")


def test_an_embedder_alone_gives_vectors_to_what_is_stored_word_for_word(plain: PlainStore, scope: Scope) -> None:
    with FakeOpenAI() as other:
        given = {"EMBEDDER_BASE_URL": other.base_url, "EMBEDDER_API_KEY": "sk-e", "TABLESTORE_VECTOR_DIMENSION": "256"}
        settings = Settings.load({**given, "STORE": "embedded"})
        assert settings.pipeline == "verbatim"
        service = MemoryService.from_settings(settings, plain)  # type: ignore[arg-type]
        [outcome] = service.add(scope, "我住在上海。").results
        assert outcome.memory == "我住在上海。"
        assert service.search(scope, "上海")[0].score
        assert (other.count("chat"), other.count("embeddings")) == (0, 2)
        service.close()


@pytest.mark.parametrize("alone", ["EMBEDDER_BASE_URL", "EMBEDDER_API_KEY"])
def test_each_of_the_two_defaults_to_the_llm_s_and_half_an_endpoint_is_told(alone: str) -> None:
    llm = {"OPENAI_API_KEY": "sk-l", "OPENAI_BASE_URL": "https://l/v1", "STORE": "embedded"}
    value = "https://e/v1"
    endpoint = Settings.load({**llm, alone: value}).embedder_endpoint
    assert endpoint is not None
    assert value in endpoint
    assert {"sk-l", "https://l/v1"} & set(endpoint)
    other = {"EMBEDDER_BASE_URL": "EMBEDDER_API_KEY", "EMBEDDER_API_KEY": "EMBEDDER_BASE_URL"}[alone]
    with pytest.raises(ConfigurationError, match=f"{other} is not set"):
        Settings.load({alone: value, "STORE": "embedded"})


@pytest.mark.parametrize("route", ["chat", "embeddings"])
@pytest.mark.parametrize("pipeline", ["reconcile", "verbatim"])
def test_a_timeout_names_add_timeout_and_says_that_nothing_was_stored(
    make: MakeService, fake: FakeOpenAI, scope: Scope, route: str, pipeline: str
) -> None:
    if (route, pipeline) == ("chat", "verbatim"):
        pytest.skip("asks no LLM")
    service = make(ADD_TIMEOUT="1", MEMORY_PIPELINE=pipeline)
    with (
        fake.failing(route, Fault.hang()),  # type: ignore[arg-type]
        pytest.raises(ModelTimedOut, match=r"in time; nothing was stored \(see ADD_TIMEOUT and OPENAI_BASE_URL\)"),
    ):
        service.add(scope, "我住在上海")
    assert service.list(scope).total == 0


def test_an_update_s_timeout_says_that_nothing_was_changed(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service = make(ADD_TIMEOUT="1")
    [made] = service.add(scope, "我住在上海").results
    with (
        fake.failing("embeddings", Fault.hang()),
        pytest.raises(ModelTimedOut, match=r"nothing was changed.*ADD_TIMEOUT"),
    ):
        service.update(scope, made.id, "我住在广州", deadline=time.monotonic() + 1)
    assert service.get(scope, made.id) == service.list(scope).memories[0]


# --- the form of an answer ----------------------------------------------------------------------------------------


def test_a_form_is_asked_for_strictly_and_learnt_once(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    fake.model.json_schema = False
    service = make()
    service.add(scope, "我住在上海")
    service.add(scope, "我喜欢吃辣的东西")
    forms = [r.body["response_format"]["type"] for r in fake.requests if r.route == "chat"]
    assert forms[0] == "json_schema"
    assert forms.count("json_schema") == 1
    assert set(forms[1:]) == {"json_object"}


def strict(schema: dict[str, object]) -> bool:
    """Whether OpenAI's strict mode takes it: every property required, no other allowed, at every level."""
    inner = [*dict(schema.get("properties") or {}).values(), *([schema["items"]] if "items" in schema else [])]  # type: ignore[call-overload]
    closed = schema.get("type") != "object" or (
        schema["additionalProperties"] is False and schema["required"] == list(schema["properties"])  # type: ignore[call-overload]
    )
    return closed and all(strict(s) for s in inner)


def test_the_forms_are_strict_and_their_bounds_hold_any_right_answer() -> None:
    assert strict(dict(facts_form("x").schema))
    assert strict(dict(update_form(["a"], ["b"]).schema))
    entry = update_form(["a"], ["b"]).schema["properties"]["memory"]["items"]["properties"]
    assert entry["fact"] == {"type": ["integer", "null"]}
    assert facts_form("short").most_tokens < 1_000
    for text in ("汉字" * 8_000, "word " * 6_000):
        assert facts_form(text).most_tokens >= len(text)
        assert update_form([text], [text]).most_tokens >= 4 * len(text)


@pytest.mark.parametrize(
    ("refusal", "learnt"),
    [
        ("range of max_tokens should be [1, 8192]", {"most_tokens": 8192}),
        ("max_tokens is too large: 50000. this model supports at most 16384 completion tokens", {"most_tokens": 16384}),
        (
            "unsupported parameter: 'max_tokens'. use 'max_completion_tokens' instead",
            {"limit": "max_completion_tokens"},
        ),
        ("unknown field max_tokens", {"bounded": False}),
        ("gpt-4o-2024-08-06 takes no such max_tokens", {"bounded": False}),
        ("maximum context length is 4096 tokens, you asked for 2000 and max_tokens=3000", {"room": False}),
        ("invalid schema for response_format 'facts'", {"response_format": "json_object"}),
        ("failed to parse grammar", {"response_format": "json_object"}),
        ("quota of tea", {}),
    ],
)
def test_what_a_refusal_teaches(refusal: str, learnt: dict[str, object]) -> None:
    after = adapted(Dialect(), refusal)
    assert {name: getattr(after, name) for name in learnt} == learnt
    assert after.learnt.room
    assert (after == Dialect()) == (not learnt)


def test_a_model_that_runs_away_is_stopped(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    make().add(scope, "我住在上海")
    [body] = [r.body for r in fake.requests if r.route == "chat"]
    assert 512 <= body["max_tokens"] <= 600


def test_a_model_that_thinks_is_not_cut_off_and_is_not_bounded_again(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    fake.model.thoughts = 5_000
    service = make()
    assert service.add(scope, "我住在上海").results
    assert service.add(scope, "我喜欢吃辣的东西").results
    bounds = [r.body.get("max_tokens") for r in fake.requests if r.route == "chat"]
    assert bounds[0] is not None
    assert bounds[1:] == [None] * (len(bounds) - 1)
    assert fake.count("extraction") == 3
