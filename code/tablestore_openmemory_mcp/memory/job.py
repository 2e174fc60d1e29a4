"""One add, as the steps of the pipeline see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .model import Progress


@dataclass(frozen=True, slots=True)
class Job:
    """`deadline` is a time.monotonic() value; `expires_at` ms since the epoch, for the memories that the add makes."""

    deadline: float
    progress: Progress
    actor: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    expires_at: int | None = None
