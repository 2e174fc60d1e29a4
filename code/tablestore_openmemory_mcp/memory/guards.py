"""What is not taken into a memory: credentials, and more LLM calls than a user may make in a day."""

import re
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

from ..errors import InvalidInput, LimitExceeded
from .llm import Answer, ChatModel, Message

# Shapes that vendors document, and a secret assigned to a telling name; a value without both letters and digits is
# more often a word ("the password is required") than a secret.
_CREDENTIALS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an Alibaba Cloud access key": r"\bLTAI[0-9A-Za-z]{12,28}\b|\bSTS\.[0-9A-Za-z]{16,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an API key": r"\bsk-[0-9A-Za-z_-]{16,}|\bAIza[0-9A-Za-z_-]{35}|\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "an access token": r"\bgh[oprsu]_[0-9A-Za-z]{30,}|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bnpm_[0-9A-Za-z]{36}",
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "a password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@]{3,}@",
    "a password or secret": (
        r"(?:password|passwd|\bpwd|secret|api[ _-]?key|access[ _-]?key|token|passphrase|密码|口令|密钥|令牌)\w*"
        r"\s*(?:is|are|was|=|:|：|是|为)+\s*[\"'`“]?(?=[!-~]*[A-Za-z])(?=[!-~]*\d)[!-~]{8,}"
    ),
}
_PATTERNS = {
    kind: re.compile(pattern, re.IGNORECASE if "password" in kind else 0) for kind, pattern in _CREDENTIALS.items()
}


def refuse_credentials(text: str) -> None:
    """Raises InvalidInput that says what `text` seems to hold, without repeating it."""
    for kind, pattern in _PATTERNS.items():
        if pattern.search(text):
            raise InvalidInput(
                f"The text seems to hold {kind}. Every client of this memory could read it, so it was not stored; "
                "leave it out, or set ALLOW_CREDENTIALS=true"
            )


class Budget:
    """LLM calls per user and day (UTC), of this process; 0 means without bound. Thread-safe."""

    def __init__(self, per_day: int) -> None:
        self._per_day = per_day
        self._lock = threading.Lock()
        self._day: date | None = None
        self._spent: Counter[str] = Counter()

    def spend(self, user_id: str) -> None:
        """Count one call. Raises LimitExceeded if there is none left today."""
        if not self._per_day:
            return
        today = datetime.now(UTC).date()
        with self._lock:
            if today != self._day:
                self._day, self._spent = today, Counter()
            if self._spent[user_id] >= self._per_day:
                raise LimitExceeded(
                    f"Today's {self._per_day} LLM calls of this user are used up; nothing was stored. It starts "
                    "anew at midnight UTC",
                    setting="LLM_CALLS_PER_USER_PER_DAY",
                )
            self._spent[user_id] += 1


class MeteredChat:
    """A chat model whose every call is counted against one user's budget."""

    def __init__(self, chat: ChatModel, budget: Budget, user_id: str) -> None:
        self._chat = chat
        self._budget = budget
        self._user_id = user_id

    def complete(self, messages: Sequence[Message], *, deadline: float) -> Answer:
        """As ChatModel; also raises LimitExceeded."""
        self._budget.spend(self._user_id)
        return self._chat.complete(messages, deadline=deadline)
