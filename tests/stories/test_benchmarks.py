"""The benchmarks run, and what they print is about what they say. Their figures are nobody's business here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PERFORMANCE = Path(__file__).resolve().parents[2] / "benchmarks" / "performance"


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


def test_a_row_that_is_not_there_is_named() -> None:
    done = run("load.py", "--only", "searches,no_such_row")
    assert done.returncode != 0
    assert "'no_such_row'" in done.stderr
