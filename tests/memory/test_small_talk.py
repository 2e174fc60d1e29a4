"""Courtesies are no facts, and no statement is taken for one."""

import json
from pathlib import Path

import pytest

from support.fake_openai import FakeOpenAI
from support.sentences import lines
from tablestore_openmemory_mcp.memory.add.cycle import NOTHING_WORTH
from tablestore_openmemory_mcp.memory.add.small_talk import is_small_talk
from tablestore_openmemory_mcp.memory.service import MemoryService
from tablestore_openmemory_mcp.scope import Scope

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    "said",
    [
        "Thank you!", "Thanks a lot", "Hello there", "Good morning!", "OK, thanks.", "What a lovely day today!",
        "User says thank you", "The weather is really nice today", "天气真不错",
        "今天天气真好啊！", "谢谢你！", "好的，谢谢", "晚安",
        "It's nice weather", "哈哈，辛苦了",
    ],
)  # fmt: skip
def test_courtesies_are_no_facts(service: MemoryService, fake: FakeOpenAI, scope: Scope, said: str) -> None:
    fake.answer(lambda body: True, json.dumps({"facts": [said]}, ensure_ascii=False))
    assert service.add(scope, said).message == NOTHING_WORTH
    assert service.list(scope).total == 0
    assert fake.count("extraction") == 1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_statement_is_taken_for_a_courtesy(language: str) -> None:
    fields = json.loads((DATA / "fields_of_life.json").read_text("utf-8"))[language]
    said = [text for texts in fields.values() for text in texts]
    said += [*lines("statements"), *lines("harmless")]
    said += [
        "Thanks to her mother she speaks Thai",
        "Works the good night shift",
        "Nice is where she lives",
        "喜欢晴朗的天气",
    ]
    said += ["Dog's name is OK", "天气热就头疼", "Likes nice weather", "谢谢是他家猫的名字"]
    assert [text for text in said if is_small_talk(text)] == []


def test_no_text_makes_the_look_for_courtesies_slow() -> None:
    for again in ("so very ", "很", "hi ", "ha", "thank you ", "!", "谢谢你"):
        assert not is_small_talk(again * 100_000 + "x")
