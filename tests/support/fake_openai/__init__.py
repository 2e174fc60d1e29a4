"""A fake OpenAI-compatible endpoint, for the unmodified `openai` SDK over TCP.

It answers Mem0's shipped prompts by rule, rewrites texts on UPDATE as real models do, makes vectors that are near when
texts mean something near, and can be given the quirks and the faults of real vendors. Asked with tools, it is an
assistant that follows their descriptions (`assistant`)::

    with FakeOpenAI() as fake:
        client = openai.OpenAI(api_key="any", base_url=fake.base_url)
        fake.model.style = STYLES["fenced"]
        fake.fail_next("chat", Fault.throttled(retry_after=1))
        with fake.holding("chat"):  # requests wait
            ...
        assert fake.count("extraction") == 1

By hand: `PYTHONPATH=tests python -m support.fake_openai --port 8950 --llm-delay 0.5 --embedder-delay 0.05`.
"""

from .endpoint import FakeOpenAI, Model, Request
from .faults import Fault
from .styles import STYLES, WEAK

__all__ = ["STYLES", "WEAK", "FakeOpenAI", "Fault", "Model", "Request"]
