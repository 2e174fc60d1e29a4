"""What can go wrong outside this program, as the caller may see it.

Every layer maps its SDK's exceptions to one of these at its own edge. The message is a sentence for the person who
reads it in a chat: what failed, why, and which setting to look at. It never holds a key, a token or a memory's text.
"""


class ServiceError(Exception):
    """A failure that was foreseen. `retry` tells whether the same call may work later; `setting` what to look at."""

    retry = False

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(f"{message.rstrip('.')} (see {setting})" if setting else message)
        self.plain = message.rstrip(".")  # without the setting
        self.setting = setting


class InvalidInput(ServiceError):
    """The caller's argument cannot be taken; the message says what can."""


class StoreError(ServiceError):
    """Tablestore refused or could not do it. `detail`: for the operator alone, such as a path; not in the message."""

    def __init__(self, message: str, *, setting: str | None = None, detail: str | None = None) -> None:
        super().__init__(message, setting=setting)
        self.detail = detail


class StoreDenied(StoreError):
    """Wrong key, expired token, or no permission."""


class StoreDamaged(StoreError):
    """The embedded store's files are damaged, or gone. It does not pass by itself."""


class StoreUnavailable(StoreError):
    """Gone, throttling, or busy beyond the deadline."""

    retry = True


class ModelError(ServiceError):
    """The LLM or the embedder refused or could not do it."""


class ModelDenied(ModelError):
    """Wrong key, no such model, or no quota."""


class ModelUnavailable(ModelError):
    """Gone, throttling, or 5xx; or ModelTimedOut."""

    retry = True


class ModelTimedOut(ModelUnavailable):
    """Slow beyond the deadline: because it is away, or because of what it was asked."""


class ModelNonsense(ModelError):
    """It answered, twice, with something that cannot be understood. Nothing was stored."""

    retry = True


class DimensionMismatch(ModelError):
    """The embedder's vectors do not have TABLESTORE_VECTOR_DIMENSION numbers. Found before anything is written."""


class LimitExceeded(ServiceError):
    """A bound was reached: memories per scope, text length, budget, deletions per call."""


class BudgetSpent(LimitExceeded):
    """The LLM calls of a user and day are used up."""


class Busy(ServiceError):
    """Too many writers met in one scope, or too many calls wait. Nothing was stored."""

    retry = True
