"""What can go wrong between this program and its model: one value per kind of trouble."""

from dataclasses import dataclass
from typing import Literal

Trouble = Literal["status", "slow", "hang", "drop", "garbage", "blanks", "torn", "wrong_dimension"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`trouble` happens instead of (or, for "slow", before) the answer."""

    trouble: Trouble
    status: int = 500
    retry_after: float | str | None = None  # seconds or a date, sent as Retry-After
    seconds: float = 0.0  # of "slow"
    message: str = "scripted fault"
    body: bytes = b"<html><body>Please log in to the network.</body></html>"  # of "garbage"
    content_type: str = "text/html"

    @classmethod
    def refused_key(cls) -> "Fault":
        return cls("status", 401, message="Incorrect API key provided.")

    @classmethod
    def throttled(cls, retry_after: float | str | None = None) -> "Fault":
        return cls("status", 429, retry_after, message="Requests rate limit exceeded, please try again later.")

    @classmethod
    def no_quota(cls) -> "Fault":
        return cls("status", 403, message="Access denied, please make sure your account is in good standing.")

    @classmethod
    def no_such_model(cls) -> "Fault":
        return cls("status", 404, message="The model does not exist or you do not have access to it.")

    @classmethod
    def broken(cls, status: int = 500) -> "Fault":
        return cls("status", status, message="Internal server error.")

    @classmethod
    def slow(cls, seconds: float) -> "Fault":
        return cls("slow", seconds=seconds)

    @classmethod
    def hang(cls) -> "Fault":
        """Never answers; ends when the endpoint closes."""
        return cls("hang")

    @classmethod
    def drop(cls) -> "Fault":
        """Closes the connection without a byte."""
        return cls("drop")

    @classmethod
    def garbage(cls) -> "Fault":
        """200, but HTML, as from a captive portal or a wrong base URL."""
        return cls("garbage")

    @classmethod
    def answers(cls, body: bytes, content_type: str = "application/json") -> "Fault":
        """200 with `body`, whatever it is."""
        return cls("garbage", body=body, content_type=content_type)

    @classmethod
    def blanks(cls) -> "Fault":
        """200, then nothing but what keeps the connection alive: DeepSeek's blank lines, or comments in a stream."""
        return cls("blanks")

    @classmethod
    def torn(cls) -> "Fault":
        """200, and the connection closes in the middle of the answer."""
        return cls("torn")

    @classmethod
    def wrong_dimension(cls) -> "Fault":
        """Vectors of one number more than was asked for."""
        return cls("wrong_dimension")
