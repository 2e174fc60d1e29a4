"""The READMEs tell the truth: the variables and defaults of settings.py, and files that exist."""

import json
import re
from pathlib import Path

import pytest

from tablestore_openmemory_mcp.settings import Settings

ROOT = Path(__file__).parents[2]
READMES = ["README.md", "README.zh.md"]
# Found out, not set by a person: where the process runs and whose keys it was given.
NOT_SET_BY_PEOPLE = {"fc_function_name", "host_credentials"}


def table(readme: str) -> dict[str, str]:
    """Variable to default, as the tables of variables have them."""
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|.*\| (.+?) \|$", (ROOT / readme).read_text("utf-8"), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a variable stands twice"
    return dict(rows)


@pytest.mark.parametrize("readme", READMES)
def test_every_variable_is_in_the_table_and_no_other(readme: str) -> None:
    known = {name.upper() for name in Settings.model_fields.keys() - NOT_SET_BY_PEOPLE}
    told = table(readme).keys()
    assert (sorted(known - told), sorted(told - known)) == ([], []), "missing in the README; unknown to settings.py"


@pytest.mark.parametrize("readme", READMES)
def test_defaults(readme: str) -> None:
    for name, shown in table(readme).items():
        default = Settings.model_fields[name.lower()].default
        if shown == "—":
            assert default is None
        elif default is not None and shown.startswith("`"):
            assert shown.strip("`") == written(default)


def written(default: object) -> str:
    """A default as a person would write the variable."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return json.dumps(default)
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("readme", READMES)
def test_links_lead_somewhere(readme: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / readme).read_text("utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("readme", READMES)
def test_ci_runs_what_the_readme_names(readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    ci = (ROOT / ".ci/run").read_text("utf-8") + (ROOT / "tests/fresh_clone.sh").read_text("utf-8")
    for command in ("make run", "make test"):
        assert command in text
        assert command in ci
