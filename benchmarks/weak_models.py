"""What a chat model makes of Mem0's extraction prompt, and what of that is stored.

    python benchmarks/weak_models.py --url http://127.0.0.1:8080/v1 --model any            # as the server asks
    python benchmarks/weak_models.py --url … --model any --plain --seconds 20              # as 2.0.0 asked: no form
    python benchmarks/weak_models.py --grounding                                           # no chat model at all

The 68 texts of data/said.json, half of them Chinese, are each extracted once. `--answers FILE` keeps what the model
wrote. `--grounding` measures the judgement alone: facts as people write them (they should pass; also those of the same
text in the other language), and the facts of other texts and of the prompt's examples (they should not).
The embedder is MiniLM (see minilm.py), or with `--embedder-url` any OpenAI-compatible one.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tablestore_openmemory_mcp.errors import ModelError
from tablestore_openmemory_mcp.memory.add.extraction import extract
from tablestore_openmemory_mcp.memory.add.grounding import Grounding, examples_in
from tablestore_openmemory_mcp.memory.context import AddContext
from tablestore_openmemory_mcp.memory.mem0.engine import prompts
from tablestore_openmemory_mcp.memory.models.answer_schemas import Form
from tablestore_openmemory_mcp.memory.models.chat import Answer, ChatModel, Message
from tablestore_openmemory_mcp.memory.models.embedder import AddEmbedder, Embedded, Embedder
from tablestore_openmemory_mcp.memory.models.endpoint import Endpoint
from tablestore_openmemory_mcp.memory.models.structured_output import NotUnderstood

DATA = Path(__file__).parent / "data" / "said.json"
Said = dict[str, Any]


class Local(Embedder):
    """MiniLM on this machine."""

    def __init__(self) -> None:
        from minilm import DIMENSION, MiniLM

        self.model, self.dimension, self._minilm = "minilm", DIMENSION, MiniLM()

    def embed(self, texts: Sequence[str], *, deadline: float) -> Any:
        return self._minilm.embed(list(texts))

    def embed_each(self, texts: Sequence[str], *, deadline: float) -> Embedded:
        return Embedded(self.embed(texts, deadline=deadline), {})

    def close(self) -> None:
        pass


class Recorded:
    """A chat model that keeps its answers; `plain`: asked for no form and without a bound."""

    def __init__(self, chat: ChatModel, plain: bool) -> None:
        self.answers: list[str] = []
        self.cut = 0
        self._chat = chat
        self._plain = plain

    def complete(self, messages: Sequence[Message], *, deadline: float, form: Form | None = None) -> Answer:
        answer = self._chat.complete(messages, deadline=deadline, form=None if self._plain else form)
        self.answers.append(answer.text)
        self.cut += answer.cut
        return answer


class Credulous(Grounding):
    """Believes every fact, as 2.0.0 did."""

    def invented(self, facts: Sequence[str], *_: Any) -> set[str]:
        return set()


def measured(
    chat: Recorded, said: Sequence[Said], judge: Grounding, embedder: Embedder, seconds: float
) -> Counter[str]:
    asking = prompts(None, None)
    counts: Counter[str] = Counter()
    strict = Grounding(asking.extraction("")[0]["content"])
    for entry in said:
        text = entry["said"]
        job = AddContext(time.monotonic() + seconds, lambda step: None)
        counts["texts"] += 1
        try:
            found = extract(chat, asking, text, job, judge, embedder)
        except NotUnderstood:
            counts["kept word for word"] += 1
            continue
        except ModelError:
            counts["out of time"] += 1
            continue
        wrong = strict.invented(found.facts, text, embedder, time.monotonic() + 60)
        counts["facts stored"] += len(found.facts)
        counts["of them invented"] += len(wrong)
        counts["left out as invented"] += found.invented
        counts["texts with a fact"] += bool(found.facts)
        counts["small talk stored"] += bool(found.facts) and not entry["facts"]
    counts["calls"], counts["cut off"] = len(chat.answers), chat.cut
    return counts


def pairs(sets: dict[str, list[Said]]) -> Iterator[tuple[str, str, str, bool]]:
    """A kind, a fact, a text, and whether the text says it."""
    chance = np.random.default_rng(1)
    examples = examples_in(prompts(None, None).extraction("")[0]["content"])
    other = {"en": "zh", "zh": "en"}
    for language, entries in sets.items():
        for n, entry in enumerate(entries):
            for fact in entry["facts"]:
                yield f"{language}: a fact of the text", fact, entry["said"], True
            for fact in sets[other[language]][n]["facts"]:
                yield f"{language}: translated", fact, entry["said"], True
            for i in chance.choice([i for i in range(len(entries)) if i != n], 6, replace=False):
                for fact in entries[i]["facts"]:
                    yield f"{language}: another text's", fact, entry["said"], False
                for fact in sets[other[language]][i]["facts"]:
                    yield f"{language}: another's, translated", fact, entry["said"], False
            for fact in [*examples, f"Today's date is {time.strftime('%Y-%m-%d')}"]:
                yield f"{language}: the prompt's", fact, entry["said"], False


def report_grounding(sets: dict[str, list[Said]], model: Embedder) -> None:
    judge = Grounding(prompts(None, None).extraction("")[0]["content"])
    embedder = AddEmbedder(model)  # asks about no text twice
    all_texts = [text for pair in pairs(sets) for text in pair[1:3]]
    embedder.embed(all_texts, deadline=time.monotonic() + 600)
    kept: dict[str, list[bool]] = {}
    missed: list[tuple[str, str]] = []
    for kind, fact, text, says in pairs(sets):
        passes = not judge.invented([fact], text, embedder, time.monotonic() + 60)
        kept.setdefault(kind, []).append(passes)
        if says and not passes:
            missed.append((fact, text))
    for kind, passed in sorted(kept.items()):
        print(f"  {kind:28} {len(passed):5} {100 * float(np.mean(passed)):6.1f} % pass")
    for fact, text in missed:
        print(f"    left out: {fact!r} of {text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an OpenAI-compatible base URL")
    parser.add_argument("--key", default="none")
    parser.add_argument("--model", default="any")
    parser.add_argument("--embedder-url", help="of an OpenAI-compatible embedder (default: MiniLM, here)")
    parser.add_argument("--embedder-model", default="text-embedding-v4")
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--plain", action="store_true", help="without form, bound and grounding")
    parser.add_argument("--seconds", type=float, default=50.0, help="for one text, as ADD_TIMEOUT")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th text")
    parser.add_argument("--answers", type=Path, help="a file for what the model wrote")
    parser.add_argument("--grounding", action="store_true")
    arguments = parser.parse_args()
    sets = {k: v[:: arguments.every] for k, v in json.loads(DATA.read_text()).items() if k != "_"}
    make: Callable[[], Embedder] = Local
    if arguments.embedder_url:
        endpoint = Endpoint(arguments.key, arguments.embedder_url, prefix="EMBEDDER")
        make = lambda: Embedder(endpoint, arguments.embedder_model, arguments.dimension)  # noqa: E731
    embedder = make()
    if arguments.grounding:
        report_grounding(sets, embedder)
        return
    judge = (Credulous if arguments.plain else Grounding)(prompts(None, None).extraction("")[0]["content"])
    for language, said in sets.items():
        chat = Recorded(ChatModel(Endpoint(arguments.key, arguments.url), arguments.model), arguments.plain)
        started = time.monotonic()
        counts = measured(chat, said, judge, embedder, arguments.seconds)
        print(f"{language}: {dict(counts)}, {time.monotonic() - started:.0f} s", flush=True)
        if arguments.answers:
            with arguments.answers.open("a") as file:
                file.writelines(json.dumps(answer, ensure_ascii=False) + "\n" for answer in chat.answers)


if __name__ == "__main__":
    main()
