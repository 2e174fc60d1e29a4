"""The repository around the code: links, YAML, the hosted workflow, `.ci/run`, and what the guides promise."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def tracked() -> list[Path]:
    """Every file of the repository that git does not ignore, those not yet committed included."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


FILES = tracked()
PAGES = [file for file in FILES if file.suffix == ".md"]
YAML = [file for file in FILES if file.suffix in (".yml", ".yaml")]


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# Links


FENCED = re.compile(r"^ *```(.*?)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)  # groups: language, content


def without_code(markdown: str) -> str:
    """The text without its fenced blocks and code spans: what looks like a link in there is none."""
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", FENCED.sub("", markdown))


def anchors(markdown: str) -> set[str]:
    """The names that GitHub gives to the headings: lower case, no punctuation, blanks as hyphens, -1 for the next."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *#*$", FENCED.sub("", markdown), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = first = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{first}-{number}"
        found.add(slug)
    return found


def broken(page: Path) -> Iterator[str]:
    text = without_code(page.read_text("utf-8"))
    inline = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    references = re.findall(r"^\[[^]]+\]:\s+<?([^\s>]+)", text, re.MULTILINE)
    for link in inline + references:
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not (target.exists() and target.is_relative_to(ROOT)):
            yield link
            continue
        if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text("utf-8")):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_the_check_of_links_sees_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# Two `words`, and a [link](x)\n## 中文 标题\n## Twice\n## Twice\n")
    page = tmp_path / "page.md"
    right = (
        "[a](other.md) [b](other.md#two-words-and-a-link) [c](other.md#中文-标题) [d](other.md#twice-1) [e](https://x)"
    )
    page.write_text(f"{right} `[f](gone.md)`\n```\n[g](gone.md)\n```\n[h](#missing) [i](gone.md) [j](../out.md)\n")
    (tmp_path.parent / "out.md").touch()
    assert list(broken(page)) == ["#missing", "gone.md", "../out.md"]


# YAML, the workflow and .ci/run


@pytest.mark.parametrize("file", YAML, ids=name)
def test_yaml_parses(file: Path) -> None:
    text = re.sub(r"\{\{ \w+ \}\}", "1", file.read_text("utf-8"))  # s.yaml is a template: `s init` fills these
    assert list(yaml.safe_load_all(text))


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def parts_of_the_workflow() -> dict[str, list[str]]:
    """Part of .ci/run -> the Python versions that it runs on."""
    found: dict[str, list[str]] = {}
    for job in load(".github/workflows/ci.yml")["jobs"].values():
        matrix = job["strategy"]["matrix"]
        for part in (words for step in job["steps"] for words in re.findall(r"\.ci/run (.+)", step.get("run", ""))):
            for one in matrix["part"] if "matrix.part" in part else part.split():
                found.setdefault(one, []).extend(matrix.get("python", []))
    return found


def parts_of_ci() -> list[str]:
    found = re.search(r'^PARTS="(.+)"$', (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert found
    return found[1].split()


def test_the_workflow_runs_every_part() -> None:
    """But `codec`, which is for a machine whose default is 3.11: the workflow runs all of `test` on 3.12 instead."""
    workflow = parts_of_the_workflow()
    assert workflow.keys() - set(parts_of_ci()) == set()
    assert set(parts_of_ci()) - workflow.keys() == {"codec"}
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    assert workflow["test"] == [c.rsplit(" ", 1)[1] for c in classifiers if re.search(r":: 3\.\d+$", c)]


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    """A copy of .ci/run in whose place `make` and the fresh clone only write down how they were called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci/run", tmp_path / ".ci/run")
    called = 'echo "make $*${PYTEST_ADDOPTS:+ on $PYTEST_ADDOPTS}" >> calls'
    scripts = {
        "bin/make": f'{called}; case " $* " in *" $FAILS "*) exit 3;; esac',
        "bin/python3.12": "exit 0",
        "tests/fresh_clone.sh": "echo fresh clone >> calls",
    }
    for script, line in scripts.items():
        (tmp_path / script).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / script).chmod(0o755)
    return tmp_path


def run(ci: Path, *arguments: str, fails: str = "nothing", path: str = os.environ["PATH"]) -> tuple[int, list[str]]:
    """(exit status, the calls that were made)"""
    environ = {"PATH": f"{ci / 'bin'}:{path}", "HOME": str(ci), "FAILS": fails}
    calls = ci / "calls"
    calls.unlink(missing_ok=True)
    status = subprocess.run([ci / ".ci/run", *arguments], env=environ, capture_output=True, check=False).returncode
    return status, calls.read_text().splitlines() if calls.exists() else []


def test_ci_without_an_argument_runs_everything_in_order(ci: Path) -> None:
    calls = [
        "make test",
        "fresh clone",
        f"make unit VENV=.venv-3.12 PYTHON={ci / 'bin/python3.12'} on tests/emulator tests/store",
        "make test-clients test-conformance test-fuzz",
        "make test-fc",
        "make test-slow",
    ]
    assert run(ci) == (0, calls)
    assert run(ci, "all") == (0, calls)
    assert run(ci, *parts_of_ci()) == (0, calls)


def test_ci_goes_on_where_there_is_no_other_interpreter(ci: Path) -> None:
    (ci / "bin/python3.12").write_text("#!/bin/sh\nexit 1\n")
    for tool in ("bash", "dirname"):
        (ci / "bin" / tool).symlink_to(str(shutil.which(tool)))
    assert run(ci, "codec", "slow", path="") == (0, ["make test-slow"])


def test_ci_runs_the_parts_that_it_is_given(ci: Path) -> None:
    assert run(ci, "slow", "test") == (0, ["make test-slow", "make test"])


@pytest.mark.parametrize("arguments", [[], ["all"], ["test", "fc"], ["codec", "fc"]])
def test_ci_stops_at_the_first_failure(ci: Path, arguments: list[str]) -> None:
    first = "unit" if arguments[:1] == ["codec"] else "test"
    status, calls = run(ci, *arguments, fails=first)
    assert status == 3
    assert len(calls) == 1


def test_ci_refuses_an_unknown_part_before_it_runs_anything(ci: Path) -> None:
    assert run(ci, "test", "nonsense") == (2, [])


def test_shell_scripts_parse() -> None:
    scripts = [
        f for f in FILES if f.suffix == ".sh" or f.read_bytes()[:40].startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))
    ]
    assert {".ci/run", "bootstrap", "tests/fresh_clone.sh"} <= {name(script) for script in scripts}
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)


def test_the_hooks_run_what_make_check_runs() -> None:
    needed = re.search(r"^check: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert needed
    config = load(".pre-commit-config.yaml")
    assert {repository["repo"] for repository in config["repos"]} == {"local"}
    entries = {hook["entry"] for repository in config["repos"] for hook in repository["hooks"]}
    assert {f"make {target}" for target in needed[1].split()} <= entries


def test_security_reports_go_to_the_repository_that_is_published() -> None:
    (link,) = load(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]
    assert link["url"].startswith(load("publish.yaml")["HomePage"] + "/security/")


# What the guides promise


def commands(page: Path) -> set[str]:
    """The targets of `make` in code spans and code blocks."""
    text = page.read_text("utf-8")
    blocks = "\n".join(content for _, content in FENCED.findall(text))
    spans = re.findall(r"`([^`\n]+)`", text)
    calls = re.findall(r"^ *(?:\w+=\S+ )*make ((?:[a-z][a-z-]*(?: |$))+)", blocks, re.MULTILINE)
    calls += [words for span in spans for words in re.findall(r"^(?:\w+=\S+ )*make ((?:[a-z][a-z-]*(?: |$))+)", span)]
    return {target for words in calls for target in words.split()}


def test_make_has_the_targets_that_are_named() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {word for line in re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE) for word in line.split()}
    named = {page: commands(page) for page in PAGES}
    assert {name(page): sorted(unknown) for page in PAGES if (unknown := named[page] - targets)} == {}
    told = named[ROOT / "CONTRIBUTING.md"]
    assert {target for target in targets if target.startswith("test")} <= told, (
        "a kind of tests that CONTRIBUTING omits"
    )


def test_ci_parts_in_the_guide_exist() -> None:
    parts = re.findall(r"`\.ci/run ([a-z ]+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert parts
    assert {part for words in parts for part in words.split()} <= set(parts_of_ci())


def test_the_guide_quotes_our_code_word_for_word() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    examples = [content for language, content in FENCED.findall(guide) if language == "python"]
    assert len(examples) == 3
    code = [file.read_text("utf-8") for file in FILES if file.suffix == ".py"]
    assert [example for example in examples if not any(example in text for text in code)] == []


def test_every_helper_of_the_tests_is_described() -> None:
    page = (ROOT / "tests/README.md").read_text("utf-8")
    described = set(re.findall(r"^\| `([a-z_0-9]+(?:\.py|/))` \|", page, re.MULTILINE))
    support = ROOT / "tests/support"
    present = {f.name for f in support.glob("*.py")} | {f"{f.parent.name}/" for f in support.glob("*/__init__.py")}
    assert (sorted(present - described), sorted(described - present)) == ([], []), (
        "to add to the page; to take out of it"
    )


def test_files_are_as_editorconfig_says() -> None:
    """UTF-8, LF, a line break at the end, no blanks at the ends of lines."""
    wrong = {}
    for file in FILES:
        data = file.read_bytes()
        if b"\0" in data or not data:
            continue
        data.decode("utf-8")
        if b"\r" in data or not data.endswith(b"\n") or re.search(rb"[ \t]+$", data, re.MULTILINE):
            wrong[name(file)] = "has CR, blanks at the end of a line, or no line break at the end"
    assert wrong == {}
