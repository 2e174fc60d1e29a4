"""LLM calls that a user may cause in a day, counted in the store for all instances together."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from ...errors import BudgetSpent
from .answer_schemas import Form
from .chat import Answer, ChatModel, Message


class Counts(Protocol):
    """See SessionRows.take."""

    def take(self, kind: str, id_: str, period: str, most: int, *, deadline: float | None = None) -> bool: ...


class MeteredChat:
    """A chat model whose every call is counted against one user's budget of `per_day` (UTC)."""

    def __init__(self, chat: ChatModel, counts: Counts, user_id: str, per_day: int) -> None:
        self._chat = chat
        self._counts = counts
        self._user_id = user_id
        self._per_day = per_day

    def complete(self, messages: Sequence[Message], *, deadline: float, form: Form | None = None) -> Answer:
        """As ChatModel; also raises BudgetSpent or a StoreError."""
        today = datetime.now(UTC).date().isoformat()
        if not self._counts.take("llm calls", self._user_id, today, self._per_day, deadline=deadline):
            raise BudgetSpent(
                f"Today's {self._per_day} LLM calls of this user are used up; nothing was stored. It starts anew at "
                "midnight UTC",
                setting="LLM_CALLS_PER_USER_PER_DAY",
            )
        return self._chat.complete(messages, deadline=deadline, form=form)
