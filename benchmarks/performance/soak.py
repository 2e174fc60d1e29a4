"""Many sessions for a long time, on servers and services that fail: is anything lost, does anything grow?

    make soak                     # ten minutes
    SOAK_SECONDS=30 make soak

Three processes behind a balancer without affinity; one of the first two is killed each minute (SIGKILL) and started
again, the third one lives. 128 sessions search, add and list over SSE and Streamable HTTP. Tablestore throttles 1 % of
the calls, its index lags, 1 % of the LLM's answers are errors. At the end every change that was acknowledged must
stand in the history, and every memory must have the text that its history ends with. Ends with status 1 if something
was lost, an error has no explanation, or (from four minutes on) the process that lives has grown.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import table  # noqa: E402
from circumstances import circumstances  # noqa: E402
from servers import OURS, Contender, clean, fake_models, free_port, stop_on_sigterm  # noqa: E402
from soaking.clients import Soaking, live  # noqa: E402
from soaking.judgement import Judgement, judge  # noqa: E402
from soaking.processes import Fleet  # noqa: E402

from support.balancer import Balancer  # noqa: E402
from support.processes import tablestore_environ  # noqa: E402
from tablestore_emulator.testing import Emulator  # noqa: E402

SESSIONS, USERS = 128, 16
PROCESSES = 3
THROTTLED, LLM_ERRORS, INDEX_LAG = 0.01, 0.01, 2.0
LLM, EMBEDDER = 0.5, 0.05  # seconds
LARGE = 40  # memories from which on a scope is searched through the index
ROW_CALLS = ("GetRow", "PutRow", "UpdateRow", "DeleteRow", "GetRange", "BatchGetRow", "BatchWriteRow", "Search")


def main() -> None:
    stop_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--pause", type=float, default=3.0, help="of each session between two calls, seconds")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    about = circumstances()
    with (
        tempfile.TemporaryDirectory() as home,
        Emulator() as emulator,
        fake_models(LLM, EMBEDDER, LLM_ERRORS) as models,
    ):
        environ = clean(Path(home) / "server", models, **tablestore_environ(emulator))
        environ |= {"SSE_RELAY": "on", "EXACT_SEARCH_LIMIT": str(LARGE), "TABLESTORE_VECTOR_DIMENSION": "1536"}
        contender = Contender("ours", OURS, environ, Path(home) / "servers.log")
        judgement = _soaked(contender, emulator, arguments.seconds, arguments.pause)
        log = contender.log.read_text("utf-8", errors="replace")
    print(judgement.text())
    tracebacks = log.count("Traceback (most recent call last)")
    print(f"tracebacks in the logs: {tracebacks}")
    if tracebacks:
        print(log[log.index("Traceback (most recent call last)") :][:3000])
    if arguments.json:
        table.write(arguments.json, {**about, "tracebacks": tracebacks, **judgement.document()})
    sys.exit(0 if judgement.good and not tracebacks else 1)


def _soaked(contender: Contender, emulator: Emulator, seconds: float, pause: float) -> Judgement:
    fleet = Fleet(contender, [free_port() for _ in range(PROCESSES)])
    try:
        faults: list[dict[str, Any]] = [
            {"apis": ROW_CALLS, "error": "OTSServerBusy", "probability": THROTTLED},
        ]
        emulator.set_faults(rules=faults, index_lag=INDEX_LAG)
        with Balancer(lambda: fleet.ports) as balancer:
            port = int(balancer.url.rpartition(":")[2])
            soaking = Soaking(port, USERS, time.monotonic() + seconds, pause)
            asyncio.run(_run(soaking, fleet, seconds))
        throttled = sum(rule["fired"] for rule in emulator.faults()["rules"])
        asked = emulator.calls()
        calls = {"all": sum(asked.values()), "search": asked.get("Search", 0), "throttled": throttled}
        emulator.clear_faults()
        log = contender.log.read_text("utf-8", errors="replace")
        return judge(contender.variables, soaking, fleet, seconds, calls, log)
    finally:
        fleet.stop()


async def _run(soaking: Soaking, fleet: Fleet, seconds: float) -> None:
    begin = time.monotonic()
    watching = asyncio.create_task(fleet.watch(every=min(5.0, seconds / 20)))
    killing = asyncio.create_task(fleet.kill_in_turn(every=min(60.0, seconds / 4), until=begin + 0.95 * seconds))
    await asyncio.gather(*(live(soaking, number) for number in range(SESSIONS)))
    watching.cancel()
    await killing
    soaking.elapsed = time.monotonic() - begin


if __name__ == "__main__":
    main()
