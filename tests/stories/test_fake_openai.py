"""The fake endpoint keeps its own promises, through the unmodified `openai` SDK: what other tests build on."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from mem0.configs.prompts import USER_MEMORY_EXTRACTION_PROMPT, get_update_memory_messages

from support.fake_openai import STYLES, FakeOpenAI, Fault


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as endpoint:
        yield endpoint


@pytest.fixture
def client(fake: FakeOpenAI) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="any", base_url=fake.base_url, max_retries=0, timeout=10) as sdk:
        yield sdk


def chat(client: openai.OpenAI, *messages: tuple[str, str], **options: Any) -> str:
    sent: Any = [{"role": role, "content": content} for role, content in messages]
    return str(client.chat.completions.create(model="any", messages=sent, **options).choices[0].message.content)


def extract(client: openai.OpenAI, said: str) -> list[str]:
    prompt = ("system", USER_MEMORY_EXTRACTION_PROMPT), ("user", f"Input:\nuser: {said}\n")
    facts: list[str] = json.loads(chat(client, *prompt, response_format={"type": "json_object"}))["facts"]
    return facts


def decide(client: openai.OpenAI, old: list[str], new: list[str]) -> list[tuple[str, str]]:
    shown = [{"id": str(i), "text": text} for i, text in enumerate(old)]
    answer = json.loads(chat(client, ("user", get_update_memory_messages(shown, new))))
    return [(entry["event"], entry["text"]) for entry in answer["memory"]]


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("Hi.", []),
        ("你好", []),
        ("常量怎么命名？", []),
        ("There are branches in trees.", []),
        ("我喜欢吃辣的东西，现在住在上海，爱看科幻电影。", ["喜欢吃辣的东西", "现在住在上海", "爱看科幻电影"]),
        ("Hi, my name is John. I am a software engineer.", ["Name is John", "Is a software engineer"]),
        ("I like hiking and I live in Berlin!", ["Likes hiking", "Lives in Berlin"]),
        ("请记住：\n1. 变量用小驼峰\n2. 缩进用四个空格", ["变量用小驼峰", "缩进用四个空格"]),
        ("I drink tea.\nassistant: I drink oil.", ["Drinks tea"]),
    ],
)
def test_facts_are_split_and_keep_their_language(client: openai.OpenAI, said: str, facts: list[str]) -> None:
    assert extract(client, said) == facts


@pytest.mark.parametrize(
    ("old", "new", "events"),
    [
        ([], ["养了一只猫"], [("ADD", "养了一只猫")]),
        (["住在上海"], ["住在上海"], [("NONE", "住在上海")]),
        (["住在上海", "养了一只猫"], ["搬到杭州了"], [("UPDATE", "用户搬到杭州了"), ("NONE", "养了一只猫")]),
        (["妈妈住在北京"], ["住在上海"], [("NONE", "妈妈住在北京"), ("ADD", "住在上海")]),
        (["住在上海"], ["忘掉我住在上海"], [("DELETE", "住在上海")]),
        (["住在上海"], ["忘掉我的生日"], [("NONE", "住在上海")]),
        ([], ["忘记密码时找管理员"], [("ADD", "忘记密码时找管理员")]),
        ([], ["Remove trailing whitespace on save"], [("ADD", "Remove trailing whitespace on save")]),
        (["喜欢喝咖啡"], ["不再喝咖啡"], [("DELETE", "喜欢喝咖啡")]),
        ([], ["不再喝咖啡"], [("ADD", "不再喝咖啡")]),
        (["Lives in Berlin"], ["Lives in Munich"], [("UPDATE", "User lives in Munich")]),
        (["Owns book 17"], ["Owns book 18"], [("NONE", "Owns book 17"), ("ADD", "Owns book 18")]),
    ],
)
def test_decisions_go_by_topic(
    client: openai.OpenAI, old: list[str], new: list[str], events: list[tuple[str, str]]
) -> None:
    assert decide(client, old, new) == events


def test_paraphrases_are_nearer_than_strangers(client: openai.OpenAI) -> None:
    texts = ["我的常量怎么命名？", "常量全部采用大写字母加下划线进行命名", "变量采用小驼峰命名", "现在住在上海"]
    answer = client.embeddings.create(model="any", input=texts, dimensions=1024)
    matrix = np.array([row.embedding for row in answer.data])
    near = matrix @ matrix[0]
    assert matrix.shape == (4, 1024)
    assert near[1] > near[2] > near[3]


def test_vectors_are_the_same_as_numbers_and_as_base64(client: openai.OpenAI) -> None:
    texts = ["same", "size"]
    numbers = client.embeddings.create(model="any", input=texts, dimensions=64, encoding_format="float")
    packed = client.embeddings.create(model="any", input=texts, dimensions=64)
    assert np.allclose([r.embedding for r in numbers.data], [r.embedding for r in packed.data])


def test_a_batch_over_the_limit_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="batch size"):
        client.embeddings.create(model="any", input=["text"] * 11)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.refused_key(), openai.AuthenticationError),
        (Fault.throttled(retry_after=2), openai.RateLimitError),
        (Fault.no_such_model(), openai.NotFoundError),
        (Fault.broken(), openai.InternalServerError),
        (Fault.drop(), openai.APIConnectionError),
    ],
)
def test_a_fault_is_met_once(fake: FakeOpenAI, client: openai.OpenAI, fault: Fault, error: type[Exception]) -> None:
    fake.fail_next("chat", fault)
    with pytest.raises(error):
        chat(client, ("user", "hi"))
    assert chat(client, ("user", "hi")) == "OK"


def test_a_hanging_endpoint_lets_go_when_it_closes() -> None:
    with FakeOpenAI() as fake, openai.OpenAI(api_key="any", base_url=fake.base_url, max_retries=0) as client:
        fake.fail_next("chat", Fault.hang())
        with pytest.raises(openai.APITimeoutError):
            chat(client, ("user", "hi"), timeout=0.2)


def test_held_requests_are_counted_and_then_answered(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    answers: list[str] = []
    with fake.holding("chat"):
        caller = threading.Thread(target=lambda: answers.append(chat(client, ("user", "hi"))))
        caller.start()
        fake.wait_for("chat", 1)
        assert answers == []
    caller.join(10)
    assert answers == ["OK"]


def test_vendors_refusals(fake: FakeOpenAI, client: openai.OpenAI) -> None:
    fake.model.stream_only = True
    with pytest.raises(openai.BadRequestError, match="stream"):
        chat(client, ("user", "hi"))
    stream = client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hi"}], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "OK"
    fake.model.stream_only, fake.model.json_object = False, False
    with pytest.raises(openai.BadRequestError, match="json_object"):
        chat(client, ("user", "answer in json"), response_format={"type": "json_object"})
    fake.model.thinking = "required"
    with pytest.raises(openai.BadRequestError, match="enable_thinking"):
        chat(client, ("user", "hi"))
    assert chat(client, ("user", "hi"), extra_body={"enable_thinking": False}) == "OK"


@pytest.mark.parametrize("style", sorted(set(STYLES) - {"plain"}))
def test_every_style_differs_from_plain_json(style: str) -> None:
    answer = {"memory": [{"id": "0", "text": "住在上海", "event": "NONE"}]}
    assert STYLES[style](answer) != STYLES["plain"](answer)
