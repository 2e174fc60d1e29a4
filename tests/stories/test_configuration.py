"""A wrong or half-given configuration ends the start with lines that a person can act on, and no secret in them."""

from pathlib import Path

import pytest

from support.processes import run_to_end

KEY = "sk-very-secret"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OPENAI_API_KEY": KEY}, ["OPENAI_BASE_URL"]),
        ({"OPENAI_BASE_URL": "http://localhost:1/v1"}, ["OPENAI_API_KEY"]),
        (
            {"STORE": "tablestore", "TABLESTORE_ACCESS_KEY_SECRET": KEY},
            ["TABLESTORE_INSTANCE_NAME", "TABLESTORE_ENDPOINT", "TABLESTORE_ACCESS_KEY_ID", "OPENAI_API_KEY"],
        ),
        ({"SERVER_PORT": "eighty"}, ["SERVER_PORT"]),
        ({"SERVER_PORT": "70000", "TABLESTORE_VECTOR_DIMENSION": "0"}, ["SERVER_PORT", "TABLESTORE_VECTOR_DIMENSION"]),
        ({"TOOL_BLACK_LIST": "delete_all_memories"}, ["TOOL_BLACK_LIST"]),
        ({"MEMORY_PIPELINE": "reconcile"}, ["OPENAI_API_KEY"]),
        ({"MCP_STDIO_USER_ID": "a/b"}, ["MCP_STDIO_USER_ID"]),
        ({"STORE": "somewhere"}, ["STORE"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("transport", ["sse", "stdio"])
def test_one_line_per_mistake(tmp_path: Path, transport: str, environ: dict[str, str], named: list[str]) -> None:
    done = run_to_end(tmp_path, f"--transport={transport}", environ=environ)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(lines) == len(named)
    for name in named:
        assert any(name in line for line in lines)
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr


def test_an_empty_string_counts_as_unset(tmp_path: Path) -> None:
    done = run_to_end(tmp_path, "--transport=stdio", environ={"OPENAI_API_KEY": " ", "SERVER_PORT": ""})
    assert done.returncode == 0


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_command_explains_itself(tmp_path: Path, argument: str) -> None:
    done = run_to_end(tmp_path, argument, environ={})
    assert done.returncode == 0
    assert "tablestore-openmemory-mcp" in done.stdout
