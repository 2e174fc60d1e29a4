"""Every figure of the table of goals in one run, beside the reference (PyPI's release 1.3.1).

    make bench                                        # all rows, about ten minutes
    make bench ONLY=searches,adds ROUNDS=1            # single rows, faster
    python benchmarks/performance/load.py --json FILE

Each round measures ours, then the reference: A B A B …; a figure is the median of the rounds. The servers are warm (but
for the rows of the start), and no query is asked twice. The LLM answers after 500 ms, the embedder after 50 ms. Models,
emulator and servers are processes of their own; the load comes from this process, which says what it costs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))


import table  # noqa: E402
from bench import EMBEDDER, LLM, Bench  # noqa: E402
from circumstances import circumstances  # noqa: E402
from rows import at_start, embedded, under_load  # noqa: E402
from servers import REFERENCE, fake_models, stop_on_sigterm  # noqa: E402

from tablestore_emulator.testing import Emulator  # noqa: E402


@dataclass(frozen=True, slots=True)
class Measurement:
    """`run` gives the figures of `keys` for a contender, once."""

    keys: tuple[str, ...]
    run: Callable[[Bench, str], dict[str, float]]
    reference: bool = True  # whether the reference can do it at all
    most: int = 99  # rounds


MEASUREMENTS = [
    Measurement(("searches", "cpu_search"), under_load.searches),
    Measurement(("adds", "cpu_add"), under_load.adds),
    Measurement(("beside",), under_load.beside),
    Measurement(("alone",), under_load.alone),
    Measurement(("opening",), under_load.opening),
    Measurement(("http_list",), under_load.http_list, reference=False),
    Measurement(("port_open", "first_search", "memory"), at_start.cold_start),
    Measurement(("first_add",), at_start.first_add),
    Measurement(("stdio",), at_start.stdio),
    Measurement(("large_ratio", "large_first", "large_list"), embedded.large, reference=False),
    Measurement(("writers_p95", "writers_rate", "writers_refused"), embedded.writers, reference=False),
    Measurement(("keyless",), embedded.keyless, reference=False),
]


def main() -> None:
    stop_on_sigterm()
    arguments = _arguments()
    keys = {row.key for row in table.ROWS}
    only = set(arguments.only.split(",")) if arguments.only else keys
    if unknown := sorted(only - keys):
        raise SystemExit(f"there is no row {unknown[0]!r}; there are {', '.join(row.key for row in table.ROWS)}")
    chosen = [m for m in MEASUREMENTS if only & set(m.keys)]
    names = ["ours"] if arguments.without_reference else ["ours", "reference"]
    if "reference" in names and not REFERENCE.exists():
        raise SystemExit("The reference is not installed: make .venv-reference/.installed, or --without-reference.")
    begin = time.monotonic()
    about = circumstances() | {"rounds": arguments.rounds, "seconds_per_measurement": arguments.seconds}
    with (
        tempfile.TemporaryDirectory() as home,
        Emulator() as emulator,
        fake_models(LLM, EMBEDDER) as models,
        fake_models(0, 0) as fast_models,
    ):
        bench = Bench(Path(home), emulator, models, fast_models, arguments.seconds)
        try:
            rows = _measured(bench, chosen, names, arguments.rounds)
        finally:
            bench.stop()
    document = {
        **about,
        "seconds": round(time.monotonic() - begin),
        "clients": bench.clients,
        "units": bench.units,
        "rows": rows,
    }
    print(table.text(rows))
    for key, cpu in bench.clients.items():
        print(f"the load itself took {cpu:.2f} ms of CPU per call ({key})")
    print(
        f"{document['commit']}, {document['machine']}, {document['seconds']} s; "
        f"load average before: {document['load_average_before']}"
    )
    if arguments.json:
        table.write(arguments.json, document)


def _measured(bench: Bench, chosen: list[Measurement], names: list[str], rounds: int) -> list[dict[str, Any]]:
    figures: dict[str, dict[str, list[float]]] = {"ours": {}, "reference": {}}
    if any(m.run.__module__ != embedded.__name__ for m in chosen):
        _say("putting memories into place")
        bench.seed(names)
    if any(m.run is embedded.large for m in chosen):
        embedded.prepare(bench)
    for measurement in chosen:
        for number in range(min(rounds, measurement.most)):
            for name in names if measurement.reference else ["ours"]:
                _say(f"{measurement.keys[0]}, round {number + 1}, {name}")
                for key, value in measurement.run(bench, name).items():
                    figures[name].setdefault(key, []).append(value)
    return table.results(figures["ours"], figures["reference"], bench.notes)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="ROW,ROW", help=f"of {', '.join(row.key for row in table.ROWS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement (default: 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--without-reference", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
