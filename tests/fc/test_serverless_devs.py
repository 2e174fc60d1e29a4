"""The template in the hands of the real `s` command line, offline: init, preview, verify."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OURS = json.loads((Path(__file__).parent / "function.schema.json").read_text())
ANSWERS = {
    "region": "cn-shanghai",
    "tablestoreInstance": "notes",
    "openaiApiKey": "sk-a#b c",
    "addMemoriesDescription": "记住: \"用户\" 说的 & 'it' # {a} <b>",
    "memorySize": "2048",
}

STUB = """
const fs = require('fs'), path = require('path');
module.exports = class {
  async getSchema() { return fs.readFileSync(path.join(__dirname, 'schema.json'), 'utf8'); }
};
"""


class CommandLine:
    """`s` with a home of its own, in which a component stands that knows a schema and nothing else."""

    def __init__(self, command: Path, home: Path) -> None:
        self._command = command
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        component = home / ".s" / "components" / "devsapp.cn" / "v3" / "fc3"
        component.mkdir(parents=True)
        vendor = os.environ.get("FC3_SCHEMA")
        schema = Path(vendor).read_text() if vendor else json.dumps(OURS)
        for name, text in {
            ".s.lock": '{"version": "0.1.22", "lastUpdateCheck": 1}',  # without it the command line asks the network
            "package.json": '{"name": "fc3-stub", "version": "0.1.22", "main": "index.js"}',
            "publish.yaml": "Edition: 3.0.0\nType: Component\nName: fc3\nVersion: 0.1.22\n",
            "schema.json": schema,
            "index.js": STUB,
        }.items():
            (component / name).write_text(text)

    def __call__(self, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._command, *words],
            cwd=cwd,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def init(self, template: Path, output: Path, answers: dict[str, str]) -> Path:
        """A project made from `template`, which the command line moves away."""
        words: list[str | Path] = ["--uri", template, "-d", output.name, "--parameters", json.dumps(answers), "-y"]
        done = self("init", "mcp-tablestore-openmemory", *words, cwd=output.parent)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Error" not in done.stdout + done.stderr
        return output

    def preview(self, project: Path) -> dict[str, Any]:
        done = self("preview", "-o", "json", "--silent", cwd=project)
        spec: dict[str, Any] = json.loads(done.stdout)
        return spec


@pytest.fixture
def s(s_command: Path, tmp_path: Path) -> CommandLine:
    return CommandLine(s_command, tmp_path / "home")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of what git has of this repository, as `s init --uri` would get it."""
    copy = tmp_path / "repository"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture
def publication(package: Path, tmp_path: Path) -> Path:
    """What `make template` assembles."""
    output = tmp_path / "publication"
    subprocess.run([sys.executable, ROOT / "scripts" / "template.py", "--output", output], check=True)
    return output


def files(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts}


def props(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["resources"]["openmemory"]["props"]
    return found


def violations(schema: dict[str, Any], instance: dict[str, Any]) -> list[str]:
    return [f"{'/'.join(map(str, e.path))}: {e.message}" for e in Draft7Validator(schema).iter_errors(instance)]


def test_project_from_the_repository(s: CommandLine, repository: Path, tmp_path: Path) -> None:
    expected = set()
    for name in json.loads((ROOT / "hook" / "files.json").read_text()):
        here = repository / name
        expected |= {f"{name}/{f}" for f in files(here)} if here.is_dir() else {name}
    project = s.init(repository, tmp_path / "project", ANSWERS)
    assert files(project) == (expected - {".env.template"}) | {".env"}
    assert (project / "bootstrap").stat().st_mode & 0o100
    assert (project / ".env").stat().st_mode & 0o077 == 0
    assert "{{" not in (project / "s.yaml").read_text() + (project / ".env").read_text()
    assert "sk-a" not in (project / "s.yaml").read_text()
    policy = json.loads((project / "ram" / "policy.json").read_text())
    assert policy["Statement"][0]["Resource"][0] == "acs:ots:cn-shanghai:*:instance/notes"


def test_preview_resolves_everything(s: CommandLine, repository: Path, tmp_path: Path) -> None:
    spec = s.preview(s.init(repository, tmp_path / "project", ANSWERS))
    text = json.dumps(spec)
    assert not [trace for trace in ("undefined", "{{", "${", "[object") if trace in text]
    assert violations(OURS, props(spec)) == []
    variables = props(spec)["environmentVariables"]
    assert variables["OPENAI_API_KEY"] == ANSWERS["openaiApiKey"]
    assert variables["TOOL_ADD_MEMORIES_DESCRIPTION"] == ANSWERS["addMemoriesDescription"]
    assert variables["TABLESTORE_ENDPOINT"] == "https://notes.cn-shanghai.ots.aliyuncs.com"
    assert props(spec)["memorySize"] == 2048
    assert spec["access"] == "default"


def test_publication_gives_the_same_project_and_the_package(
    s: CommandLine, repository: Path, publication: Path, tmp_path: Path
) -> None:
    assert {"publish.yaml", "readme.md", "version.md", "src/s.yaml", "hook/index.js"} <= files(publication)
    ours = s.init(repository, tmp_path / "from-repository", ANSWERS | {"functionName": "memory"})
    published = s.init(publication, tmp_path / "from-registry", ANSWERS | {"functionName": "memory"})
    code_from_git = {f for f in files(ours) if f.startswith("code/")}
    assert {f for f in files(published) if not f.startswith("code/")} == (files(ours) - code_from_git) | {
        "dist/function.zip"
    }
    assert (ours / "s.yaml").read_text() == (published / "s.yaml").read_text()
    first, second = s.preview(ours), s.preview(published)
    keys = [props(spec)["environmentVariables"].pop("MCP_MINT_KEY") for spec in (first, second)]
    assert first == second
    assert len(set(keys)) == 2  # each deployment's own
    assert all(len(key) == 43 for key in keys)


def test_verify_passes(s: CommandLine, repository: Path, tmp_path: Path) -> None:
    project = s.init(repository, tmp_path / "project", ANSWERS)
    done = s("verify", cwd=project)
    assert "passed" in done.stdout, done.stdout + done.stderr


def test_verify_would_notice(s: CommandLine, repository: Path, tmp_path: Path) -> None:
    project = s.init(repository, tmp_path / "project", ANSWERS)
    spec = project / "s.yaml"
    spec.write_text(spec.read_text().replace("timeout: 3600", 'timeout: "3600"'))
    done = s("verify", cwd=project)
    assert "timeout must be integer" in done.stdout + done.stderr


def test_region_choices_exist(s: CommandLine, repository: Path, tmp_path: Path) -> None:
    vendor = os.environ.get("FC3_SCHEMA")
    if not vendor:
        pytest.skip("FC3_SCHEMA names no copy of the component's schema")
    schema = json.loads(Path(vendor).read_text())
    regions = yaml.safe_load((ROOT / "publish.yaml").read_text())["Parameters"]["properties"]["region"]["enum"]
    assert set(regions) <= set(schema["definitions"]["IRegion"]["enum"])
    project = s.init(repository, tmp_path / "project", ANSWERS)
    assert violations(schema, props(s.preview(project))) == []
