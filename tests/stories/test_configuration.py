"""A wrong or half-given configuration ends the start with lines that a person can act on, and no secret in them."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.clients import over_stdio
from support.fake_openai import FakeOpenAI
from support.processes import COMMAND, START, clean_environ, run_to_end
from tablestore_openmemory_mcp.settings import ConfigurationError, Settings

KEY = "sk-very-secret"
LLM = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "http://localhost:1/v1"}
CLOUD = {
    "TABLESTORE_INSTANCE_NAME": "mine",
    "TABLESTORE_ENDPOINT": "https://mine.cn-hangzhou.ots.aliyuncs.com",
    "TABLESTORE_ACCESS_KEY_ID": "LTAI-id",
    "TABLESTORE_ACCESS_KEY_SECRET": KEY,
    "TABLESTORE_STS_TOKEN": "sts",
}
OTHERS = {"LLM_MODEL": "qwen-max", "MCP_STDIO_USER_ID": "小明", "SERVER_PORT": "80", "STORE": "tablestore"}


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


BLANKS = st.text(st.sampled_from(" \t\r\n\v\f\u00a0\u3000\u2028\ufeff\u200b\u2060"), max_size=4)


@given(st.data())
@settings(deadline=None)
def test_what_stands_around_a_value_means_nothing(data: st.DataObject) -> None:
    """Keys, addresses, names, numbers: a line end of a secret file, blanks of a web page."""
    plain = {**LLM, **CLOUD, **OTHERS}
    around = {name: data.draw(BLANKS) + value + data.draw(BLANKS) for name, value in plain.items()}
    assert Settings.load(around) == Settings.load(plain)


@given(st.sampled_from(sorted({*LLM, *CLOUD})), BLANKS)
@example("OPENAI_API_KEY", "\n")
@settings(deadline=None)
def test_a_value_of_blanks_alone_counts_as_unset(name: str, blanks: str) -> None:
    def told(environ: dict[str, str]) -> list[str] | Settings:
        try:
            return Settings.load(environ)
        except ConfigurationError as e:
            return e.lines

    plain = {**LLM, **CLOUD}
    assert told({**plain, name: blanks}) == told({k: v for k, v in plain.items() if k != name})


KEYS = ["OPENAI_API_KEY", "TABLESTORE_ACCESS_KEY_ID", "TABLESTORE_ACCESS_KEY_SECRET", "TABLESTORE_STS_TOKEN"]
NO_KEYS = [
    "sk-very\nsecret",
    "sk-very\tsecret",
    "sk-véry-secret",
    "密钥-secret",
    "sk-\u200bsecret",
    "<your secret>",
    '"secret"',
]


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_no_request_could_carry_is_refused_by_name(name: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load({**LLM, **CLOUD, name: key})
    (line,) = refused.value.lines
    assert line.startswith(f"{name} cannot be used: ")
    assert "secret" not in line.replace(name, "")


def test_the_variable_that_was_set_is_named() -> None:
    """Not the one that it stands in for."""
    with pytest.raises(ConfigurationError, match=r"^ALIBABA_CLOUD_ACCESS_KEY_SECRET cannot"):
        Settings.load({"ALIBABA_CLOUD_ACCESS_KEY_ID": "id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "a\nb"})


@pytest.mark.parametrize("name", ["LLM_MODEL", "OPENAI_BASE_URL", "TABLESTORE_INSTANCE_NAME", "MCP_STDIO_CLIENT_NAME"])
def test_a_line_end_within_a_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Settings.load({**LLM, **CLOUD, name: "http://a\nb"})
    assert [line.split()[0] for line in refused.value.lines] == [name]


def test_texts_and_lists_may_have_lines() -> None:
    loaded = Settings.load(
        {
            "MEM0_FACT_EXTRACTION_PROMPT": "Find\nfacts.\n",
            "TOOL_BLACK_LIST": '[\n"list_memories"\n]',
            "MCP_AUTH_SECRET": "abcdefgh" * 4 + ",\n" + "ijklmnop" * 4,
        }
    )
    assert loaded.mem0_fact_extraction_prompt == "Find\nfacts."
    assert loaded.tool_black_list == ("list_memories",)
    assert loaded.auth_secrets == ("abcdefgh" * 4, "ijklmnop" * 4)


@pytest.mark.skipif(os.name == "nt", reason="variables are bytes on POSIX alone")
def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    environ = {k.encode(): v.encode() for k, v in clean_environ(tmp_path).items()}
    environ[b"TOOL_LIST_MEMORIES_DESCRIPTION"] = b"caf\xe9"
    ended = subprocess.run(
        COMMAND, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=START, check=False
    )
    assert ended.returncode == 2
    assert b"TOOL_LIST_MEMORIES_DESCRIPTION cannot be used: it holds bytes that are not UTF-8." in ended.stderr


def test_a_key_from_a_file_with_a_line_end_works(tmp_path: Path) -> None:
    with FakeOpenAI(api_key=KEY) as llm:
        around = {name: f" {value}\r\n" for name, value in llm.environ().items()}
        with over_stdio(tmp_path, **around) as client:
            assert client.add("I live in Shanghai.")["results"][0]["event"] == "ADD"
