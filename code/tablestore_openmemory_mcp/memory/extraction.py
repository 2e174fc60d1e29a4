"""From what was said to the facts worth remembering."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import ModelNonsense
from .asking import Chat, ask
from .job import Job
from .parsing import facts_in
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
    reading = ask(chat, prompts.extraction(text), facts_in, deadline=job.deadline)
    facts = [fact for fact in reading.value if len(fact) <= max(_LONGEST_FACT, len(text))]
    if reading.torn and len(facts) < 2:
        raise ModelNonsense(
            "The LLM stopped half-way, twice; nothing was stored. A shorter text may work", setting="LLM_MODEL"
        )
    return Extracted(facts[:-1] if reading.torn else facts, reading.torn)
