"""Both stories against a real Tablestore instance and a real model: `make test-real`, with the caller's credentials.

The caller pays: a few hundred tokens and four small tables, whose names begin with TABLESTORE_TABLE_NAME (default
`mem0_test`) and which are left empty. What the model answered is printed, since it may be right in other words.
"""

import os
import secrets
from collections.abc import Iterator

import pytest

from support.clients import MemoryClient, over_sse
from support.processes import Server
from tablestore_openmemory_mcp.settings import Settings

pytestmark = pytest.mark.real

NEEDED = (
    "TABLESTORE_ENDPOINT",
    "TABLESTORE_INSTANCE_NAME",
    "TABLESTORE_ACCESS_KEY_ID",
    "TABLESTORE_ACCESS_KEY_SECRET",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    assert not missing, f"make test-real needs {', '.join(missing)} in the environment"
    given = {name: os.environ[name] for name in map(str.upper, Settings.model_fields) if name in os.environ}
    environ = {"TABLESTORE_TABLE_NAME": "mem0_test", **given, "STORE": "tablestore"}
    with Server(tmp_path_factory.mktemp("real"), **environ) as server:
        yield server


@pytest.fixture
def client(real: Server) -> Iterator[MemoryClient]:
    """A user that nobody had before, and nothing of whom is left."""
    with over_sse(real.url("test-real", secrets.token_hex(8))) as connected:
        yield connected
        connected.delete_all()
        assert connected.memories() == []


def test_code_preference(client: MemoryClient) -> None:
    said = client.add(
        "请记住我的编码偏好：变量采用小驼峰命名，常量全部采用大写字母加下划线进行命名，函数名以动词开头。"
    )
    print("told:", said)
    assert {r["event"] for r in said["results"]} == {"ADD"}
    before = {m["id"]: m["memory"] for m in client.memories()}
    constants = {key: text for key, text in before.items() if "常量" in text}
    assert constants

    hits = client.search("我的常量应该怎么命名？")
    print("found:", [(hit["memory"], hit["score"]) for hit in hits])
    assert "常量" in hits[0]["memory"]
    assert hits[0]["score"] > 0.5

    corrected = client.add("我改主意了：变量名喜欢用小写字母加下划线，不要小驼峰")
    print("corrected:", corrected)
    after = {m["id"]: m["memory"] for m in client.memories()}
    assert {r["event"] for r in corrected["results"]} & {"UPDATE", "DELETE"}
    assert any("变量" in text and "下划线" in text for text in after.values())
    assert constants.items() <= after.items() or len(before) == 1  # a model may put all three into one memory


def test_travel_planner(client: MemoryClient) -> None:
    told = client.add("我喜欢吃辣的东西，现在住在上海，爱看科幻电影。")
    print("told:", told)
    assert told["results"]
    for question, word in (("周末去吃什么菜？", "辣"), ("他住在哪个城市？", "上海"), ("周末看什么电影？", "科幻")):
        hits = client.search(question)
        print(question, [(hit["memory"], hit["score"]) for hit in hits])
        assert any(word in hit["memory"] for hit in hits[:3])
