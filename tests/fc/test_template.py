"""The application template against our own settings: what can be known without the vendor's command line."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tablestore_openmemory_mcp.settings import LOCAL_ONLY, Settings

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (ROOT / "s.yaml").read_text()
PUBLISH = yaml.safe_load((ROOT / "publish.yaml").read_text())
PARAMETERS: dict[str, dict[str, Any]] = PUBLISH["Parameters"]["properties"]
TABLESTORE = {"tablestoreInstance": "notes"}


def rendered(**answers: str) -> dict[str, Any]:
    """s.yaml as `s init` renders it, for the two kinds of expression that it uses."""
    values = {name: p.get("default", "") for name, p in PARAMETERS.items()} | {"access": "default"} | answers

    def expression(match: re.Match[str]) -> str:
        first, _, fallback = match[1].partition(" || ")
        if values[first] or not fallback:
            return str(values[first])
        return "".join(str(values[word]) if word in values else word.strip("'") for word in fallback.split(" + "))

    document: dict[str, Any] = yaml.safe_load(re.sub(r"\{\{ (.+?) \}\}", expression, TEMPLATE))
    return document


def environment(**answers: str) -> dict[str, str]:
    """The function's variables, with an .env that sets nothing but the model's key."""
    variables = rendered(**answers)["resources"]["openmemory"]["props"]["environmentVariables"]
    dot_env = {"OPENAI_API_KEY": "sk-x"}

    def resolved(value: str) -> str:
        match = re.fullmatch(r"\$\{env\('(\w+)', '(.*)'\)\}", value)
        return dot_env.get(match[1], match[2]) if match else value

    return {name: resolved(value) for name, value in variables.items()}


def test_every_deployable_setting_is_passed_and_nothing_else() -> None:
    deployable = {name.upper() for name in Settings.model_fields} - {name.upper() for name in LOCAL_ONLY}
    passed = set(environment(**TABLESTORE))
    assert passed - deployable == set(), "s.yaml passes variables that are no settings"
    assert deployable - passed == set(), "s.yaml lacks a line for these (or settings.LOCAL_ONLY an entry)"


def test_local_settings_exist() -> None:
    assert set(Settings.model_fields) >= LOCAL_ONLY


def test_what_is_passed_by_default_is_the_default() -> None:
    keys = {"TABLESTORE_ACCESS_KEY_ID": "id", "TABLESTORE_ACCESS_KEY_SECRET": "secret"}  # the role's
    deployed = Settings.load(environment(**TABLESTORE) | keys)
    asked = {"tablestore_instance_name", "tablestore_endpoint", "openai_api_key", "openai_base_url"}
    same = set(Settings.model_fields) - LOCAL_ONLY - asked
    assert deployed.model_dump(include=same) == Settings().model_dump(include=same)
    assert deployed.tablestore_endpoint == "https://notes.cn-hangzhou.ots.aliyuncs.com"
    assert deployed.cloud


def test_a_given_endpoint_wins_over_the_derived_one() -> None:
    vpc = "https://notes.cn-hangzhou.vpc.tablestore.aliyuncs.com"
    assert environment(**TABLESTORE, tablestoreEndpoint=vpc)["TABLESTORE_ENDPOINT"] == vpc


def test_variables_fit_into_function_compute() -> None:
    variables = environment(tablestoreInstance="a" * 20, addMemoriesDescription="说明" * 150)
    assert sum(len(name.encode()) + len(value.encode()) for name, value in variables.items()) < 4096
    assert not [name for name in variables if name.startswith("FC_")]
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) for name in variables)


def test_every_expression_is_a_parameter_and_every_parameter_is_used() -> None:
    elsewhere = (ROOT / ".env.template").read_text() + (ROOT / "ram" / "policy.json").read_text()
    words = set(re.findall(r"\w+", " ".join(re.findall(r"\{\{ (.+?) \}\}", TEMPLATE + elsewhere))))
    assert set(PARAMETERS) <= words
    assert words - set(PARAMETERS) - {"access"} == {"default", "https", "ots", "aliyuncs", "com"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_strings_in_chinese_whose_defaults_fit(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["type"] == "string"  # the command line renders other types' defaults as "undefined"
    assert isinstance(parameter["default"], str)
    assert re.search(r"[\u4e00-\u9fff]", parameter["title"])
    assert re.search(r"[\u4e00-\u9fff]", parameter["description"])
    if "enum" in parameter:
        assert parameter["default"] in parameter["enum"]
    if "pattern" in parameter and name not in ("tablestoreInstance", "functionName"):  # one asked for, one random
        assert re.fullmatch(parameter["pattern"], parameter["default"])


def test_no_secret_and_no_access_key_stands_in_the_template() -> None:
    answers = rendered(**TABLESTORE, openaiApiKey="sk-secret", authSecret="s" * 32)
    assert "sk-secret" not in json.dumps(answers)
    assert "s" * 32 not in json.dumps(answers)
    assert "ACCESS_KEY" not in TEMPLATE


def test_function_is_what_the_documentation_promises() -> None:
    props = rendered(**TABLESTORE)["resources"]["openmemory"]["props"]
    assert props["runtime"] == "custom.debian11"
    assert props["customRuntimeConfig"] == {"port": 9000, "command": ["/code/bootstrap"]}
    assert props["instanceConcurrency"] == 200
    assert props["memorySize"] % 64 == 0
    assert 1 <= props["memorySize"] / 1024 / props["cpu"] <= 4
    assert set(props["instanceLifecycleConfig"]) == {"initializer", "preStop"}
    assert props["triggers"][0]["triggerConfig"]["authType"] == "anonymous"  # the server's own lock
    assert "sessionAffinity" not in props  # the relay needs none, and MCP_SSE would allow the one path /sse only


def test_version_is_the_project_s() -> None:
    assert PUBLISH["Version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_role_has_least_privilege() -> None:
    assert PARAMETERS["role"]["x-role"]["authorities"] == ["TablestoreOpenMemoryAccess"]
    (statement,) = json.loads((ROOT / "ram" / "policy.json").read_text())["Statement"]
    assert not [action for action in statement["Action"] if "*" in action or not action.startswith("ots:")]
    assert all(":instance/{{ tablestoreInstance }}" in resource for resource in statement["Resource"])
    # Exactly what the store asks of the SDK: no call that is refused, no right that is not needed.
    gateway = (ROOT / "code" / "tablestore_openmemory_mcp" / "store" / "client" / "sdk_client.py").read_text()
    calls = re.findall(r'_call\("(\w+)"', gateway) + re.findall(r'(?:Put|Update|Delete): "(\w+)"', gateway)
    assert sorted(statement["Action"]) == sorted({f"ots:{call.title().replace('_', '')}" for call in calls})


def test_bootstrap_can_be_run_by_linux() -> None:
    bootstrap = ROOT / "bootstrap"
    assert bootstrap.stat().st_mode & 0o111 == 0o111
    assert bootstrap.read_bytes().startswith(b"#!/bin/sh\n")
    assert b"\r" not in bootstrap.read_bytes()


def test_stdio_example_names_settings_with_their_defaults() -> None:
    example = ROOT / "examples" / "function-compute"
    variables = yaml.safe_load((example / "variable.yaml").read_text())["services"]["openmemory"]
    assert {name.lower() for name in variables} <= set(Settings.model_fields)
    asked = ("OPENAI_BASE_URL",)  # a suggestion; the setting has no default
    given = {name: v["default"] for name, v in variables.items() if v.get("default") and name not in asked}
    has_key = {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": "https://llm.example"}  # else the vectors are not of 1536
    assert Settings.load(given | has_key).model_dump() == Settings.load(has_key).model_dump()
    command = yaml.safe_load((example / "s.yaml").read_text())["resources"]["openmemory"]["props"]["startCommand"]
    assert command.endswith("python -m tablestore_openmemory_mcp --transport=stdio")


@pytest.mark.parametrize("page", ["function-compute.md", "function-compute.zh.md"])
def test_documentation_names_every_parameter(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert [name for name in PARAMETERS if name not in text] == []
