"""The benchmarks run, and what they print is about what they say. Their figures are nobody's business here."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from support.store import environ, open_environ, remember
from tablestore_emulator.testing import Emulator
from tablestore_openmemory_mcp.scope import Scope

ROOT = Path(__file__).resolve().parents[2]
PERFORMANCE = ROOT / "benchmarks" / "performance"


def run(script: str, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, PERFORMANCE / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=os.environ | variables)


@pytest.mark.slow
def test_a_row_of_every_kind_is_measured(tmp_path: Path) -> None:
    """But for the reference, which needs an index of packages."""
    rows = ["searches", "adds", "beside", "alone", "opening", "http_list", "memory", "first_add", "stdio"]
    rows += ["writers_rate", "keyless"]
    out = tmp_path / "figures.json"
    done = run(
        "load.py", "--only", ",".join(rows), "--rounds", "1", "--seconds", "1", "--without-reference", "--json", out
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(out.read_text())
    measured = {row["key"]: row for row in document["rows"]}
    assert measured.keys() >= set(rows)
    assert all(measured[key]["ours"] > 0 for key in rows)
    assert all(row["what"] in done.stdout for row in document["rows"])
    assert [row["note"] for row in document["rows"] if "failed" in row["note"]] == []
    assert measured["writers_refused"]["ours"] == 0


@pytest.mark.slow
def test_a_soak_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    done = run("soak.py", "--seconds", "20", "--json", out)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(out.read_text())
    assert document["changes_acknowledged"] > 0
    assert document["tablestore_calls_throttled"] > 0
    assert document["processes_killed"] > 0
    assert document["lost"] == document["unexplained"] == []


def test_the_judge_of_a_soak_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A change that is nowhere, a text that is not the last one, an error without a cause, and growth."""
    monkeypatch.syspath_prepend(PERFORMANCE)
    from soaking.clients import Acknowledged, Failure, Soaking
    from soaking.judgement import Judgement, judge
    from soaking.processes import Fleet, Sample

    with Emulator() as emulator:
        variables = environ(emulator)
        store = open_environ(variables)
        (memory,) = remember(store.scope(Scope("alice", "cline")), "tea")
        store.close()

        def judged(
            acknowledged: list[Acknowledged], failures: list[Failure], memory_mb: int = 0, log: str = ""
        ) -> Judgement:
            fleet = Fleet.__new__(Fleet)
            fleet.kills, fleet.restarts = [100.0], [0.5]
            fleet.samples = [Sample(float(n), n // 10 * memory_mb * 10**6, 20, 20) for n in range(20)]
            soaking = Soaking(0, 1, 0.0, 0.0, elapsed=600.0, acknowledged=acknowledged, failures=failures)
            return judge(variables, soaking, fleet, 600.0, {"all": 1, "search": 1, "throttled": 1}, log)

        kept = Acknowledged("alice", memory.id, "ADD", "tea")
        killed = Failure(101.0, 99.0, "search_memories", False, "the stream ended")
        away = Failure(300.0, 299.0, "add_memories", True, "The LLM has an internal error (500)")
        assert judged([kept], [killed, away]).good
        assert judged([kept], [killed, away]).explained.total() == 2
        assert judged([kept, Acknowledged("alice", memory.id, "UPDATE", "coffee")], []).lost
        assert judged([Acknowledged("alice", "no such id", "ADD", "tea")], []).lost
        assert judged([kept], [Failure(300.0, 299.0, "search_memories", False, "the stream ended")]).unexplained
        assert judged([kept], [Failure(101.0, 99.0, "add_memories", True, "list index out of range")]).unexplained
        not_taken = Failure(
            300.0, 298.0, "search_memories", False, "HTTP 404: Could not find session. Open a new stream."
        )
        assert judged([kept], [not_taken]).unexplained
        assert judged([kept], [not_taken], log="a stream was cut: this instance was too slow to take its message").good
        assert not judged([kept], [], memory_mb=100).good


def test_a_goal_is_reached_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PERFORMANCE)
    from table import Goal

    assert Goal("≥", 15, "ratio").reached(150, 10) is True
    assert Goal("≥", 15, "ratio").reached(149, 10) is False
    assert Goal("≥", 15, "ratio").reached(150, math.nan) is None
    assert Goal("≤", 4).reached(4, math.nan) is True
    assert Goal("≤", 4).reached(4.1, math.nan) is False
    assert Goal("≤", 4).reached(math.nan, 1) is None


def test_the_page_says_what_was_measured() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "performance_page.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").glob("scaling*.svg")), ids=lambda p: p.name)
def test_a_picture_shows_both_and_is_small(picture: Path) -> None:
    assert picture.stat().st_size < 60_000
    root = ElementTree.parse(picture).getroot()
    lines = [e.get("class", "") for e in root.iter("{http://www.w3.org/2000/svg}path")]
    assert lines.count("ours line") == lines.count("reference line") >= 4
    assert "prefers-color-scheme:dark" in picture.read_text()


def test_there_are_pictures_in_both_languages() -> None:
    names = {picture.name for picture in (ROOT / "docs" / "images").glob("scaling*.svg")}
    assert len(names) == 4
    assert {name.replace(".zh", "") for name in names} <= names


def test_a_row_that_is_not_there_is_named() -> None:
    done = run("load.py", "--only", "searches,no_such_row")
    assert done.returncode != 0
    assert "'no_such_row'" in done.stderr
