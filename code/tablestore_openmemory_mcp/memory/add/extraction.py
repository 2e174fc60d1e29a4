"""From what was said to the facts worth remembering."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..context import AddContext
from ..models.answer_parsing import Unparseable, all_facts_in, sound
from ..models.answer_schemas import facts_form
from ..models.embedder import Embedder
from ..models.prompts import Prompts
from ..models.structured_output import Chat, NotUnderstood, ask, whole
from .grounding import Grounding
from .small_talk import is_small_talk

_LONGEST_FACT = 4_000  # characters; a model that answers with more has not extracted anything
_COMPLAINT = (
    "these facts are not in the input: {}. Give only what the user says in the input, nothing of the instructions"
)


@dataclass(frozen=True, slots=True)
class Extracted:
    """`truncated`: the model stopped half-way, twice, and what it had not finished is missing. `invented`: how many
    facts were left out because the text does not say them."""

    facts: Sequence[str]
    truncated: bool = False
    invented: int = 0


def extract(
    chat: Chat, prompts: Prompts, text: str, context: AddContext, grounding: Grounding, embedder: Embedder | None
) -> Extracted:
    """The facts in `text`, in its language. Raises NotUnderstood if two answers are of no use, or a ModelError."""
    context.progress("extracting facts")

    def read(answer: str) -> list[str]:
        facts = [sound(fact, text) for fact in all_facts_in(answer)]
        if any(len(fact) > max(_LONGEST_FACT, len(text)) for fact in facts):
            raise Unparseable("a fact in it is longer than what was said")
        return facts

    def invented(facts: Sequence[str]) -> set[str]:
        worth = [fact for fact in dict.fromkeys(facts) if not is_small_talk(fact)]
        return grounding.invented(worth, text, embedder, context.deadline)

    def objection(facts: Sequence[str]) -> str | None:
        wrong = invented(facts)
        return _COMPLAINT.format("; ".join(sorted(wrong))) if wrong else None

    parsed = ask(
        chat, prompts.extraction(text), read, deadline=context.deadline, form=facts_form(text), objection=objection
    )
    facts = [fact for fact in dict.fromkeys(whole(parsed)) if not is_small_talk(fact)]
    wrong = invented(facts)
    if wrong and len(wrong) == len(facts):
        raise NotUnderstood("The LLM gave only facts that the text does not say, twice")
    return Extracted([fact for fact in facts if fact not in wrong], parsed.truncated, len(wrong))
