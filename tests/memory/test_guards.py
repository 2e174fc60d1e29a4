"""Credentials, what was recalled, expiry, single memories, and what happens while the LLM is away."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from support.fake_openai import STYLES, FakeOpenAI, Fault
from support.plain_store import PlainStore
from tablestore_openmemory_mcp.errors import InvalidInput, LimitExceeded, ModelDenied
from tablestore_openmemory_mcp.memory.credential_filter import refuse_credentials
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.memory.unit_of_work import UnitOfWork, now_ms
from tablestore_openmemory_mcp.scope import Scope
from tablestore_openmemory_mcp.store.store import TablestoreStore

MakeService = Callable[..., MemoryService]

SECRETS = [
    "My key is sk-" + "abcDEF123456789xyz",
    "AccessKey LTAI" + "5tAbCdEfGhIjKlMnOpQr",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "token ghp_" + "a1B2" * 9,
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0.abcdefghijk",
    "postgres://app:hunter2@db.example.com/prod",
    "我的邮箱密码是 Abc12345678",
    "the password is: 'correct4horse'",
    "API_KEY=9f8e7d6c5b4a",
    "DB_PASSWORD_PROD=hunter22x",
    "export STRIPE_SECRET_2=9f8e7d6c5b4a",
    *(
        prefix + "aB3dE5fG7h" * 4
        for prefix in ("sk_live_", "hf_", "gsk_", "sk-proj-", "ya29.", "xai-", "Bearer ", "AKLT")
    ),
    "机器人 123456789:AA" + "aB3dE5fG7h" * 3 + "abc",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=" + "aB3dE5fG7h" * 8 + "==",
    "https://hooks.slack.com/services/T0/B0/" + "aB3dE5fG7h" * 2,
    "Authorization: Basic dXNlcjpwYXNzd29yZA==",
    "redis://:p4ssw0rd@h:6379",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    '{"client_secret": "aB3dE5fG7h"}',
    "my password is hunter2",
    "我的密码改成了 Abc12345",
    "家里 wifi 密码是12345678",
]
HARMLESS = [
    "I always forget my password",
    "The password policy requires twelve characters",
    "密码要求至少十二位，包含大小写字母",
    "用 JWT 做鉴权，token 有效期两小时",
    "My favourite key is F sharp minor",
    "The repository is at https://example.com/team/app",
    "DB_PASSWORD_PRODUCER=kafka01x is the name of a topic",
    "sk-learn is what I use, secret santa is on 2025-12-20",
    "变量名 access_key_id 用小写",
    "tokenizer = cl100k_base, max_tokens=8192",
    "My secretary is Anna1990",
    "secretKeyRef: my-secret-v1",
    'api_key = os.getenv("OPENAI_API_KEY_2")',
    "password=${DB_PASSWORD1}",
    "token = get_token_v2()",
    "密码是 bcrypt12 加密的，令牌是 OAuth2.0 的",
    "I use sk-learn-contrib-extra",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIaB3dE5fG7haB3dE5fG7h me@host",
    "Pinned to 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567, id 12345678-1234-5678-1234-567812345678",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_credential_is_refused_with_a_reason(
    make: MakeService, fake: FakeOpenAI, scope: Scope, secret: str
) -> None:
    for service in (make(), make(OPENAI_API_KEY="")):
        with pytest.raises(InvalidInput, match="ALLOW_CREDENTIALS") as raised:
            service.add(scope, secret)
        assert secret[-6:] not in str(raised.value)
    assert fake.requests == []


@pytest.mark.parametrize("text", HARMLESS)
def test_talk_about_credentials_is_stored(keyless: MemoryService, scope: Scope, text: str) -> None:
    assert keyless.add(scope, text).results


@pytest.mark.parametrize("again", ["sk-", "password=", "token=is", "密码是a", "a.", "-----BEGIN "])
def test_no_text_makes_the_look_for_credentials_slow(again: str) -> None:
    started = time.process_time()
    refuse_credentials(again * (500_000 // len(again)))
    assert time.process_time() - started < 10


def test_credentials_are_stored_if_the_operator_says_so(make: MakeService, scope: Scope) -> None:
    service = make(OPENAI_API_KEY="", ALLOW_CREDENTIALS="true")
    assert [service.add(scope, secret).results[0].event for secret in SECRETS] == ["ADD"] * len(SECRETS)


def test_what_was_just_recalled_is_not_stored_again(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    service.add(scope, "我住在上海。我喜欢吃辣的东西。我爱看科幻电影。")
    recalled = "\n".join(f"- {hit.memory.text}" for hit in service.search(scope, "我的情况"))
    result = service.add(scope, recalled)
    assert result.results == []
    assert service.list(scope).total == 3


# --- single memories ----------------------------------------------------------------------------------------------


def test_update_and_delete_by_id_keep_lineage(
    make: MakeService, store: PlainStore | TablestoreStore, scope: Scope
) -> None:
    service = make(store)
    [added] = service.add(scope, "我住在上海").results
    outcome = service.update(scope, added.id, "我住在杭州", actor="admin")
    assert (outcome.event, outcome.previous_memory, outcome.memory) == ("UPDATE", added.memory, "我住在杭州")
    memory = service.get(scope, added.id)
    assert memory is not None
    assert memory.text == "我住在杭州"
    assert "杭州" in service.search(scope, "住在杭州")[0].memory.text
    assert [o.event for o in service.delete(scope, [added.id])] == ["DELETE"]
    assert service.get(scope, added.id) is None
    assert [e.event for e in service.history(scope, added.id)] == ["ADD", "UPDATE", "DELETE"]


def test_an_id_of_another_scope_does_not_exist(
    make: MakeService, store: PlainStore | TablestoreStore, scope: Scope
) -> None:
    service = make(store)
    other = Scope(scope.user_id, "another")
    [mine] = service.add(scope, "我住在上海").results
    assert service.get(other, mine.id) is None
    assert list(service.history(other, mine.id)) == []
    with pytest.raises(InvalidInput, match="no memory with the id"):
        service.update(other, mine.id, "我住在火星")
    with pytest.raises(InvalidInput, match="no memory with the id"):
        service.delete(other, [mine.id])
    assert service.get(scope, mine.id) is not None


def test_deletes_are_all_or_none(service: MemoryService, scope: Scope) -> None:
    [added] = service.add(scope, "我住在上海").results
    with pytest.raises(InvalidInput, match="nowhere"):
        service.delete(scope, [added.id, "nowhere"])
    with pytest.raises(InvalidInput, match="No id"):
        service.delete(scope, [])
    assert service.list(scope).total == 1


def store_expired(plain: PlainStore, scope: Scope, text: str) -> str:
    """Commit a memory whose time is over, and return its id."""
    store = plain.scope(scope)
    unit = UnitOfWork(store.snapshot())
    memory = unit.add(text, None, None, expires_at=unit.now - 1)
    store.commit(unit.changes, base=unit.base)
    return memory.id


def test_an_expired_memory_is_invisible_at_once(make: MakeService, plain: PlainStore, scope: Scope) -> None:
    service = make(MEMORY_PIPELINE="verbatim")
    hour = now_ms() + 3_600_000
    service.add(scope, "我住在上海", expires_at=hour)
    gone = store_expired(plain, scope, "停车位在 B2-17")
    assert [m.text for m in service.list(scope).memories] == ["我住在上海"]
    assert [h.memory.text for h in service.search(scope, "停车位")] == ["我住在上海"]
    assert service.get(scope, gone) is None
    with pytest.raises(InvalidInput, match="no memory"):
        service.update(scope, gone, "x")
    assert service.add(scope, "停车位在 B2-17").results, "it is not known any more"
    with pytest.raises(InvalidInput, match="past"):
        service.add(scope, "x", expires_at=now_ms() - 1)


def test_expired_memories_are_deleted_along_with_later_writes(
    make: MakeService, plain: PlainStore, scope: Scope
) -> None:
    store_expired(plain, scope, "停车位在 B2-17")
    assert [o.event for o in make(OPENAI_API_KEY="").add(scope, "我住在上海").results] == ["ADD"]
    assert len(plain.scope(scope).snapshot().memories) == 1


def test_what_is_true_for_a_while_does_not_overwrite_what_outlives_it(service: MemoryService, scope: Scope) -> None:
    service.add(scope, "我住在上海")
    hour = now_ms() + 3_600_000
    [outcome] = service.add(scope, "我现在住在北京", expires_at=hour).results
    assert outcome.event == "ADD"
    assert {("上海" in m.text, m.expires_at) for m in service.list(scope).memories} == {(True, None), (False, hour)}


def test_a_correction_for_good_of_what_was_true_for_a_while_stays(service: MemoryService, scope: Scope) -> None:
    service.add(scope, "我住在上海", expires_at=now_ms() + 3_600_000)
    [outcome] = service.add(scope, "我现在住在北京").results
    assert outcome.event == "UPDATE"
    assert [m.expires_at for m in service.list(scope).memories] == [None]


def test_a_longer_while_replaces_a_shorter_one(service: MemoryService, scope: Scope) -> None:
    hour = now_ms() + 3_600_000
    service.add(scope, "我住在上海", expires_at=hour)
    assert service.add(scope, "我现在住在北京", expires_at=2 * hour).results[0].event == "UPDATE"
    assert [m.expires_at for m in service.list(scope).memories] == [2 * hour]


@pytest.mark.parametrize("key", ["", "key"])
def test_what_is_said_again_for_longer_is_remembered_for_as_long(make: MakeService, scope: Scope, key: str) -> None:
    service, hour = make(OPENAI_API_KEY=key), now_ms() + 3_600_000
    service.add(scope, "我住在上海", expires_at=hour)
    for until, expected in ((2 * hour, 2 * hour), (hour, 2 * hour), (None, None), (hour, None)):
        result = service.add(scope, "我住在上海", expires_at=until)
        assert result.results == []
        assert result.message
        assert ("longer" in result.message) == (until in (2 * hour, None))
        assert [m.expires_at for m in service.list(scope).memories] == [expected]


def test_mem0_s_own_pipeline_keeps_an_expiry(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service, hour = make(MEMORY_PIPELINE="additive"), now_ms() + 3_600_000
    fake.answer(lambda body: True, json.dumps({"memory": [{"id": "0", "text": "User lives in Shanghai"}]}))
    service.add(scope, "I live in Shanghai", expires_at=hour)
    assert [m.expires_at for m in service.list(scope).memories] == [hour]


def test_an_expiry_can_be_set_kept_and_taken_away_with_a_text(keyless: MemoryService, scope: Scope) -> None:
    hour = now_ms() + 3_600_000
    [added] = keyless.add(scope, "停车位在 B2-17").results
    for given, expected in ((hour, hour), (None, hour), (0, None)):
        keyless.update(scope, added.id, f"停车位在 B2-17 {given}", expires_at=given)
        memory = keyless.get(scope, added.id)
        assert memory is not None
        assert memory.expires_at == expected


def test_a_full_memory_says_so(make: MakeService, scope: Scope) -> None:
    service = make(OPENAI_API_KEY="", MAX_MEMORIES="2")
    service.add(scope, "a b c")
    service.add(scope, "d e f")
    with pytest.raises(LimitExceeded, match="MAX_MEMORIES"):
        service.add(scope, "g h i")
    assert service.list(scope).total == 2


# --- while the LLM is away ----------------------------------------------------------------------------------------


def test_an_outage_fails_the_add_by_default(service: MemoryService, fake: FakeOpenAI, scope: Scope) -> None:
    with fake.failing("chat", Fault.refused_key()), pytest.raises(ModelDenied):
        service.add(scope, "我住在上海")
    assert service.list(scope).total == 0


def test_with_the_fallback_the_text_is_kept_and_sorted_in_later(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(store, ADD_FALLBACK="verbatim")
    service.add(scope, "我住在上海")
    with fake.failing("chat", Fault.refused_key()):
        result = service.add(scope, "我现在住在北京。我喜欢吃辣的东西。")
        assert [o.event for o in result.results] == ["ADD"]
        assert result.message is not None
        assert "word for word" in result.message
        assert "OPENAI_API_KEY" in result.message
        assert any("北京" in hit.memory.text for hit in service.search(scope, "住在北京吗"))
    fake.forget()
    [outcome] = service.add(scope, "我爱看科幻电影").results
    assert outcome.event == "ADD"
    texts = [m.text for m in service.list(scope).memories]
    assert len(texts) == 3
    assert not any("上海" in t for t in texts)
    assert all("pending" not in m.metadata for m in service.list(scope).memories)


def test_with_the_fallback_an_embedder_that_is_away_too_loses_nothing(
    make: MakeService, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(ADD_FALLBACK="verbatim")
    with fake.failing("chat", Fault.refused_key()), fake.failing("embeddings", Fault.refused_key()):
        assert service.add(scope, "我住在上海").results
    assert service.search(scope, "我住在哪里")[0].score


def test_at_most_three_are_sorted_in_per_add_oldest_first(make: MakeService, fake: FakeOpenAI, scope: Scope) -> None:
    service = make(ADD_FALLBACK="verbatim")
    with fake.failing("chat", Fault.refused_key()):
        for city in ("上海", "北京", "广州", "深圳", "杭州"):
            service.add(scope, f"我在{city}有一个朋友")
    service.add(scope, "我爱看科幻电影")
    waiting = [m.text for m in service.list(scope).memories if "pending" in m.metadata]
    assert sorted(waiting) == ["我在杭州有一个朋友", "我在深圳有一个朋友"]


def test_a_text_that_no_model_understands_does_not_block_later_adds(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope
) -> None:
    service = make(store, ADD_FALLBACK="verbatim")
    with fake.failing("chat", Fault.refused_key()):
        service.add(scope, "我喜欢吃辣的东西")
    fake.style_next(STYLES["not_json"], STYLES["not_json"])
    assert service.add(scope, "我住在上海").results
    fake.forget()
    assert service.add(scope, "我爱看科幻电影").results
    assert fake.count("extraction") == 1
    assert {m.text for m in service.list(scope).memories} >= {"我喜欢吃辣的东西"}


def test_a_text_that_takes_the_llm_too_long_does_not_block_later_adds(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope
) -> None:
    """One that was too long for the LLM took each later add's time, and sent it to be stored word for word as well."""
    service = make(store, ADD_FALLBACK="verbatim", ADD_TIMEOUT="2")
    for said in ("我喜欢吃辣的东西", "我住在上海", "我爱看科幻电影", "我在学习弹钢琴"):
        fake.fail_next("chat", Fault.hang())
        assert service.add(scope, said).results[0].event == "ADD"
    fake.forget()
    assert "猫" in service.add(scope, "我有一只猫").results[0].memory
    assert fake.count("extraction") == 4, "three that wait, not the first of all, and the new one"
    memories = service.list(scope).memories
    assert {m.text for m in memories} >= {"我喜欢吃辣的东西"}
    assert all(m.metadata == {} for m in memories)


def test_two_instances_sort_a_text_in_once(
    make: MakeService, store: PlainStore | TablestoreStore, fake: FakeOpenAI, scope: Scope
) -> None:
    services = [make(store, ADD_FALLBACK="verbatim") for _ in range(2)]
    with fake.failing("chat", Fault.refused_key()):
        services[0].add(scope, "我喜欢吃辣的东西")
    with fake.holding("chat"):
        said = ("我住在上海", "我爱看科幻电影")
        threads = [threading.Thread(target=s.add, args=(scope, t)) for s, t in zip(services, said, strict=True)]
        for thread in threads:
            thread.start()
        fake.wait_for("extraction", 3)
    for thread in threads:
        thread.join()
    texts = sorted(m.text for m in services[0].list(scope).memories)
    assert len(texts) == 3
    assert sum("辣" in t for t in texts) == 1


def test_an_update_s_text_passes_the_same_checks_as_an_add_s(keyless: MemoryService, scope: Scope) -> None:
    [added] = keyless.add(scope, "我住在上海").results
    for refused in ("我的密码是 Abc12345678", "a\x00b", " ", "x" * 1_000_000):
        with pytest.raises(InvalidInput):
            keyless.update(scope, added.id, refused)
    assert [m.text for m in keyless.list(scope).memories] == ["我住在上海"]
