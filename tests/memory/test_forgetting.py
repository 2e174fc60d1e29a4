"""What a fact asks of the memory, measured on sentences of both languages that were written before the rules."""

from collections.abc import Callable, Sequence

import pytest

from support.sentences import halves, lines, secrets
from tablestore_openmemory_mcp.errors import InvalidInput
from tablestore_openmemory_mcp.memory.add.forget_commands import forgets_everything, is_forgetting, is_instruction
from tablestore_openmemory_mcp.memory.credential_filter import refuse_credentials


def _is_refused(text: str) -> bool:
    try:
        refuse_credentials(text)
    except InvalidInput:
        return True
    return False


def _share(question: Callable[[str], bool], sentences: Sequence[str]) -> float:
    return sum(map(question, sentences)) / len(sentences)


def test_requests_to_forget_are_told_from_statements() -> None:
    for wanted, others in zip(halves(lines("forgetting")), halves(lines("statements")), strict=True):
        assert _share(is_forgetting, wanted) >= 0.95
        assert _share(is_forgetting, others) <= 0.01


def test_commands_to_the_model_are_told_from_statements_and_from_a_person_s_requests() -> None:
    bounded = [fact for fact in lines("forgetting") if not forgets_everything(fact)]
    for wanted, others in zip(halves(lines("instructions")), halves([*lines("statements"), *bounded]), strict=True):
        assert _share(is_instruction, wanted) >= 0.95
        assert _share(is_instruction, others) <= 0.01


@pytest.mark.parametrize("fact", ["User wants all memories deleted", "Asked for all of his memories to be erased"])
def test_a_command_may_be_told_in_the_passive(fact: str) -> None:
    assert is_instruction(fact)


@pytest.mark.parametrize("fact", ["Forget everything", "Erase all my memories", "忘掉一切", "删除所有记忆"])
def test_what_has_no_bound_is_told(fact: str) -> None:
    assert forgets_everything(fact)
    assert is_forgetting(fact)


@pytest.mark.parametrize("fact", ["Forget everything about my health", "Forget my address", "忘掉我的地址"])
def test_what_has_a_bound_is_not_everything(fact: str) -> None:
    assert not forgets_everything(fact)


@pytest.mark.parametrize("half", [0, 1])
def test_secrets_are_told_from_talk_about_them(half: int) -> None:
    """The second half is the one that no rule was chosen by."""
    harmless = halves(lines("harmless"))[half]
    assert [text for text in harmless if _is_refused(text)] == []
    for seed in range(3):
        assert _share(_is_refused, halves(secrets(seed))[half]) >= 0.97
