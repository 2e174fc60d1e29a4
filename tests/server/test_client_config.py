"""The printed stdio block: pasted, with the secrets filled in, it gives a server with the same settings. Whatever is
set, settings that come later included."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tablestore_openmemory_mcp.server.startup.client_config import auto_approve, child, shown
from tablestore_openmemory_mcp.settings import CLOUD_ONLY, HTTP_ONLY, TOOL_NAMES, ConfigurationError, Settings

SECRET = "s3cr3t"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/<>"), min_size=1, max_size=20)
CANDIDATES = ["https://a.example.com", "http://127.0.0.1:8000/v1", "http://[::1]:80", "mem0", "Table_1", "word"]


def written(name: str) -> st.SearchStrategy[str]:
    """What a person might write for a variable, by the type of its field."""
    field = Settings.model_fields[name]
    kind, bounds = str(field.annotation), field.metadata
    if "SecretStr" in kind or name == "tablestore_access_key_id":
        return st.from_regex(rf"\A{SECRET}-{name}-[!-~]{{32,40}}\Z")
    words = re.findall(r"'([^']+)'", kind) if "Literal" in kind else []
    if "bool" in kind:
        return st.sampled_from([*words, "true", "false", "1", "no"])
    if words:
        return st.sampled_from(words)
    if field.annotation in (int, float):
        least = next((getattr(b, "ge", getattr(b, "gt", 0)) for b in bounds if isinstance(b, Ge | Gt)), 0)
        most = next((getattr(b, "le", getattr(b, "lt", 0)) for b in bounds if isinstance(b, Le | Lt)), 1_000_000)
        if field.annotation is int:
            return st.integers(int(least), int(most)).map(str)
        return st.floats(least, most, exclude_min=True, allow_subnormal=False).map(repr)
    if "tuple" in kind:
        items = sorted(TOOL_NAMES) if name == "tool_black_list" else ["https://a.example.com"]
        return st.lists(st.sampled_from(items), max_size=2, unique=True).map(json.dumps)
    if name == "data_dir":
        return st.sampled_from(["/tmp/memories", "a folder", "~/记忆"])
    patterns = [b.pattern for b in bounds if getattr(b, "pattern", None)]
    if patterns:
        return st.sampled_from([c for c in CANDIDATES if re.search(patterns[0], c)])
    if name.endswith(("_prompt", "_description")):
        return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)
    return TEXT


LLM = ("openai_api_key", "openai_base_url")
CLOUD = ("tablestore_instance_name", "tablestore_endpoint", "tablestore_access_key_id", "tablestore_access_key_secret")
JWT = ("mcp_auth_issuer", "mcp_auth_audience", "mcp_public_url")
ALONE = tuple(sorted(set(Settings.model_fields) - {*LLM, *CLOUD, "fc_function_name", "host_credentials"}))
MACHINES = dict(
    zip(
        (name.upper() for name in CLOUD[2:]),
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
        strict=True,
    )
)


@st.composite
def environs(draw: st.DrawFn) -> dict[str, str]:
    names = set(draw(st.lists(st.sampled_from(ALONE), max_size=12, unique=True)))
    for group in (LLM, CLOUD, JWT):
        if draw(st.booleans()):
            names |= set(group)
    environ = {name.upper(): draw(written(name)) for name in sorted(names)}
    if draw(st.booleans()):
        environ = {MACHINES.get(name, name): value for name, value in environ.items()}
    return environ


def pasted(environ: Mapping[str, str]) -> tuple[Settings, dict[str, str], str]:
    """(the settings, the block's variables with the secrets filled in, the block as printed)."""
    try:
        given_ = Settings.load(environ)
    except ConfigurationError:
        assume(False)
        raise
    block = child(given_, environ)
    env: dict[str, str] = block["mcpServers"]["tablestore-openmemory-stdio"]["env"]
    filled = {name: environ[name] if value == f"<your {name}>" else value for name, value in env.items()}
    return given_, filled, shown(block)


@given(environs())
@example({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"https://me:{SECRET}@llm.example.com/v1"})
@example({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"https://llm.example.com/v1?key={SECRET}"})
@example({"LLM_MODEL": "@cf/meta/llama?", "TOOL_ADD_MEMORIES_DESCRIPTION": "See https://me@example.com/?a=b first."})
@example({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://x/v1", "TABLESTORE_VECTOR_DIMENSION": "8"})
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_the_child_has_the_same_settings(environ: dict[str, str]) -> None:
    given_, filled, printed = pasted(environ)
    of_child = Settings.load(filled)
    other = HTTP_ONLY if given_.cloud else HTTP_ONLY | CLOUD_ONLY | {"store"}
    for name in Settings.model_fields.keys() - other:
        assert getattr(of_child, name) == getattr(given_, name), name
    assert (of_child.cloud, of_child.pipeline) == (given_.cloud, given_.pipeline)
    if given_.cloud:
        assert of_child.host_credentials == given_.host_credentials
    assert SECRET not in printed
    assert all(f'"<your {name}>"' not in printed for name in ("LLM_MODEL", "TOOL_ADD_MEMORIES_DESCRIPTION"))
    assert not [name for name in HTTP_ONLY if name.upper() in filled]


def test_a_new_setting_travels_by_itself() -> None:
    """As do those of the embedder's own address, if they are there."""

    class Later(Settings):
        embedder_api_key: SecretStr | None = None
        embedder_base_url: str | None = None
        some_list: tuple[str, ...] = ()

    given_ = Later(
        embedder_api_key=SecretStr(SECRET), embedder_base_url="http://x/v1", some_list=("é",), store="embedded"
    )
    env: dict[str, Any] = child(given_, {})["mcpServers"]["tablestore-openmemory-stdio"]["env"]
    assert env["EMBEDDER_API_KEY"] == "<your EMBEDDER_API_KEY>"
    assert (env["EMBEDDER_BASE_URL"], env["SOME_LIST"]) == ("http://x/v1", '["é"]')


SURROUNDINGS = {
    "HTTPS_PROXY": f"http://me:{SECRET}@127.0.0.1:7890",
    "all_proxy": "socks5://127.0.0.1:7891",
    "NO_PROXY": "localhost,127.0.0.1",
    "SSL_CERT_FILE": "/etc/ssl/corporate.pem",
}


def test_proxies_certificates_and_the_time_zone_travel_too(tmp_path: Path) -> None:
    llm = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://x/v1"}
    _, filled, printed = pasted({**llm, **SURROUNDINGS, "TZ": "Asia/Shanghai", "PATH": "/bin", "AWS_KEY": SECRET})
    assert filled.items() >= {**SURROUNDINGS, "TZ": "Asia/Shanghai"}.items()
    assert SECRET not in printed
    assert "PATH" not in filled
    _, bare, printed = pasted({**llm, "HTTP_PROXY": f"me:{SECRET}@proxy.example.com:8080"})
    assert bare["HTTP_PROXY"].startswith("me:")
    assert SECRET not in printed
    _, of_keyless, _ = pasted({**SURROUNDINGS, "DATA_DIR": str(tmp_path)})
    assert not SURROUNDINGS.keys() & of_keyless.keys()


def test_what_a_client_may_do_unasked() -> None:
    """Where the assistant corrects, it may: what an update replaces stays in the history. Deleting is asked for."""
    alone = Settings.load({"STORE": "embedded", "EMBEDDER": "none"})
    with_llm = Settings.load({"STORE": "embedded", "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://x/v1"})
    assert "update_memory" in auto_approve(alone)
    assert "update_memory" not in auto_approve(with_llm)
    for made in (alone, with_llm):
        assert not {"delete_memories", "delete_all_memories"} & set(auto_approve(made))
        assert "add_memories" in auto_approve(made)
