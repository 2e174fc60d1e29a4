"""Errors as Tablestore answers them: a code, a sentence, and the HTTP status that belongs to the code.

Sentences and statuses are those of the service's documentation and of its SDKs' tests; see the README for which are
guesses.
"""

from typing import Final

STATUS: Final = {
    "OTSAuthFailed": 403,
    "OTSNoPermissionAccess": 403,
    "OTSConditionCheckFail": 403,
    "OTSQuotaExhausted": 403,
    "OTSNotEnoughCapacityUnit": 403,
    "OTSObjectNotExist": 404,
    "OTSTableNotReady": 404,
    "OTSMethodNotAllowed": 405,
    "OTSRequestTimeout": 408,
    "OTSObjectAlreadyExist": 409,
    "OTSRowOperationConflict": 409,
    "OTSOperationConflict": 409,
    "OTSRequestBodyTooLarge": 413,
    "OTSTooFrequentReservedThroughputAdjustment": 403,
    "OTSOperationThrottled": 403,
    "OTSInternalServerError": 500,
    "OTSServerBusy": 503,
    "OTSPartitionUnavailable": 503,
    "OTSTimeout": 503,
    "OTSServerUnavailable": 503,
}

MESSAGE: Final = {
    "OTSConditionCheckFail": "Condition check failed.",
    "OTSQuotaExhausted": "Too frequent table operations.",
    "OTSNotEnoughCapacityUnit": "Remaining capacity unit is not enough.",
    "OTSObjectNotExist": "Requested table does not exist.",
    "OTSTableNotReady": "The table is not ready.",
    "OTSObjectAlreadyExist": "Requested table already exists.",
    "OTSRowOperationConflict": "Data is being modified by the other request.",
    "OTSRequestBodyTooLarge": "The size of POST data is too large.",
    "OTSMethodNotAllowed": "Only POST method for requests is supported.",
    "OTSInternalServerError": "Internal server error.",
    "OTSServerBusy": "Server is busy.",
    "OTSPartitionUnavailable": "The partition is not available.",
    "OTSTimeout": "Operation timeout.",
    "OTSServerUnavailable": "Server is not available.",
}


class OtsError(Exception):
    """One error of the service; `status` is its HTTP status (400 for codes that STATUS does not name)."""

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.message = MESSAGE.get(code, code) if message is None else message
        self.status = STATUS.get(code, 400)
        super().__init__(f"{code}: {self.message}")


def invalid(message: str) -> OtsError:
    """400 OTSParameterInvalid: the request cannot be taken as it is."""
    return OtsError("OTSParameterInvalid", message)


def unsupported(what: str) -> OtsError:
    """400 OTSUnsupportOperation: the service can, this emulator cannot."""
    return OtsError("OTSUnsupportOperation", f"{what} is not supported by tablestore-emulator.")
