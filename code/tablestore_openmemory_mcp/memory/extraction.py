"""From what was said to the facts worth remembering."""

from collections.abc import Sequence
from dataclasses import dataclass

from .asking import Chat, ask, whole
from .job import Job
from .parsing import Unparseable, facts_in
from .prompts import Prompts

_LONGEST_FACT = 4_000  # characters; a model that answers with more has not extracted anything


@dataclass(frozen=True, slots=True)
class Extracted:
    """`torn`: the model stopped half-way, twice, and what it had not finished is missing."""

    facts: Sequence[str]
    torn: bool = False


def extract(chat: Chat, prompts: Prompts, text: str, job: Job) -> Extracted:
    """The facts in `text`, in its language. Raises a ModelError."""
    job.progress("extracting facts")

    def read(answer: str) -> list[str]:
        facts = facts_in(answer)
        if any(len(fact) > max(_LONGEST_FACT, len(text)) for fact in facts):
            raise Unparseable("a fact in it is longer than what was said")
        return facts

    reading = ask(chat, prompts.extraction(text), read, deadline=job.deadline)
    return Extracted(whole(reading), reading.torn)
