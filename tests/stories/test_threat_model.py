"""docs/security.md names a test for each line of its threat model: those tests exist, in both languages the same."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["security.md", "security.zh.md"]


def named(page: str) -> list[str]:
    return re.findall(r"`(test_\w+)`", (ROOT / "docs" / page).read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_is_named_exists(page: str) -> None:
    sources = "".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)\(", sources))
    assert len(named(page)) > 40
    assert sorted(set(named(page)) - there) == []


def test_both_languages_promise_the_same() -> None:
    english, chinese = map(named, PAGES)
    assert english == chinese


@pytest.mark.parametrize("page", PAGES)
def test_a_line_without_a_test_says_so(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    model = text[text.index("## Threat model" if page == "security.md" else "## 威胁模型") :]
    rows = [row for row in re.findall(r"^\| (.+) \|$", model, re.MULTILINE) if " | " in row and "---" not in row]
    assert len(rows) > 20
    proofs = [row.rsplit(" | ", 1)[1] for row in rows]
    assert [p for p in proofs if not p.startswith("`test_") and p not in ("no test", "无测试")] == []
