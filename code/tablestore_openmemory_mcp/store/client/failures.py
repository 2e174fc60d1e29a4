"""What an exception of the SDK, or of what lies below it, means.

Two questions decide what may follow: can the same call work a moment later, and can it have taken effect already? The
SDK answers neither: it repeats only some answers, never a broken connection, and lets urllib3's and struct's exceptions
through unwrapped (6.4.8).
"""

import struct
from dataclasses import dataclass
from enum import Enum

from tablestore.error import OTSClientError, OTSServiceError
from urllib3 import exceptions as net

from ...errors import StoreDamaged, StoreDenied, StoreError, StoreUnavailable

KEYS = "TABLESTORE_ACCESS_KEY_ID, TABLESTORE_ACCESS_KEY_SECRET"
INSTANCE = "TABLESTORE_INSTANCE_NAME"
TOKEN = "TABLESTORE_STS_TOKEN"  # noqa: S105 - the variable's name

# Refused before it took effect: any call may be repeated.
_BUSY = {
    "OTSRowOperationConflict",
    "OTSNotEnoughCapacityUnit",
    "OTSTableNotReady",
    "OTSPartitionUnavailable",
    "OTSServerBusy",
    "OTSOperationConflict",
    "OTSOperationThrottled",
}
# Something broke on the way: it may have taken effect.
_BROKEN = {"OTSTimeout", "OTSInternalServerError", "OTSServerUnavailable"}


class ConditionFailed(StoreError):
    """The row is not in the state that the write asked for."""


class TableMissing(StoreError):
    """No such table, or no such index."""


class AlreadyExists(StoreError):
    """The table, or the index, is there."""


class OutcomeUnknown(StoreUnavailable):
    """The write may or may not have taken effect, and repeating it blindly could do it twice."""


class Effect(Enum):
    """NONE: it did not happen. UNKNOWN: it may have happened."""

    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """`error` is for the caller; `transient`: the same call may work later; `unreachable`: nobody answered at all."""

    error: StoreError
    transient: bool = False
    effect: Effect = Effect.NONE
    unreachable: bool = False


def explain(exception: Exception, place: str, setting: str) -> Failure | None:
    """What `exception` means, or None if it is a mistake of this program. `place` and `setting`: see Connector."""
    if isinstance(exception, OTSServiceError):
        return _refusal(exception.code, exception.message, exception.http_status, place, setting)
    if isinstance(exception, OTSClientError):
        return _odd_answer(exception, place, setting)
    if isinstance(exception, net.HTTPError | OSError):
        return _network(exception, place, setting)
    if isinstance(exception, struct.error | UnicodeEncodeError | OverflowError):
        return Failure(StoreError(f"{place} cannot hold this value: {type(exception).__name__}."))
    return None


def explain_row(code: str, message: str, place: str, setting: str) -> Failure:
    """The same for one row of a batch, which has a code but no status."""
    return _refusal(code, message, None, place, setting)


def _refusal(code: str, message: str, status: int | None, place: str, setting: str) -> Failure:
    said = f"{place} answered {code}: {message.rstrip('.')}."
    if code == "OTSConditionCheckFail":
        return Failure(ConditionFailed(said))
    if code == "OTSObjectNotExist" or (code in ("OTSParameterInvalid", "OTSMetaNotMatch") and "not exist" in message):
        return Failure(TableMissing(said))
    if code == "OTSObjectAlreadyExist":
        return Failure(AlreadyExists(said))
    if code == "OTSAuthFailed":
        return Failure(_denied(said, message, place))
    if code == "OTSNoPermissionAccess":
        return Failure(StoreDenied(f"{place} does not permit this to the access key. {said}", setting=KEYS))
    if code in _BUSY or (code == "OTSQuotaExhausted" and message.startswith("Too frequent")):
        return Failure(StoreUnavailable(f"{place} is busy or throttling. {said}", setting=setting), transient=True)
    if code == "OTSDataDamaged":  # the embedded store's alone
        return Failure(StoreDamaged(message, setting=setting))
    if code == "OTSQuotaExhausted":
        return Failure(StoreError(f"{place} can take no more. {said}", setting=setting))
    if code in _BROKEN or status in (500, 502, 503, 504):
        return Failure(StoreUnavailable(said, setting=setting), transient=True, effect=Effect.UNKNOWN)
    return Failure(StoreError(said, setting=setting if status == 404 else None))


def _denied(said: str, message: str, place: str) -> StoreDenied:
    text = message.lower()
    if "instance" in text:
        return StoreDenied(
            f"{place} does not know the instance, or these keys are not its own. {said}", setting=INSTANCE
        )
    if "token" in text or "expire" in text:
        return StoreDenied(f"{place} refused the temporary credentials. {said}", setting=TOKEN)
    return StoreDenied(f"{place} refused the access key. {said}", setting=KEYS)


def _odd_answer(e: OTSClientError, place: str, setting: str) -> Failure:
    status = e.http_status
    if status is None:  # the SDK did not send it
        return Failure(StoreError(f"{place}'s SDK refused the request: {e.message}"))
    if "system time" in e.message:
        return Failure(StoreError(f"The clock of this machine and {place}'s differ by more than 15 minutes."))
    error = StoreUnavailable(f"What answered does not speak like {place} (HTTP {status}).", setting=setting)
    return Failure(error, transient=status >= 500, effect=Effect.UNKNOWN)


def _network(e: Exception, place: str, setting: str) -> Failure:
    if isinstance(e, net.SSLError):
        why = "it does not speak TLS, or its certificate cannot be verified"
        return Failure(StoreUnavailable(f"No secure connection to {place}: {why}.", setting=setting))
    if isinstance(e, net.NewConnectionError | net.ConnectTimeoutError | net.LocationValueError):
        error = StoreUnavailable(f"{place} cannot be reached.", setting=setting)
        return Failure(error, transient=not isinstance(e, net.LocationValueError), unreachable=True)
    if isinstance(e, net.ReadTimeoutError):
        error = StoreUnavailable(f"{place} did not answer in time.", setting=setting)
    else:
        error = StoreUnavailable(f"The connection to {place} broke.", setting=setting)
    return Failure(error, transient=True, effect=Effect.UNKNOWN)
