"""No account, no key: the first run of a stranger. Words are kept as they were said, found by meaning, and survive
everything."""

import subprocess
import sys
from pathlib import Path

from support.clients import over_sse, over_stdio
from support.processes import START, Server, alive, wait_until


def test_the_first_start_says_what_a_person_needs(keyless: Server) -> None:
    assert keyless.port
    meaning = "recalled by meaning, in 16 languages, on this machine; nothing leaves it"
    for said in (
        str(keyless.data_dir),
        "no OPENAI_API_KEY",
        meaning,
        '"type": "sse"',
        '"type": "stdio"',
        '"autoApprove"',
    ):
        assert said in keyless.log


def test_what_was_remembered_survives_kill_9(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        with over_sse(server.url("cline", "ann")) as client:
            client.add("常量全部采用大写字母加下划线进行命名")
            client.add("Lives in Berlin, on the third floor")
        server.kill()  # the SDK's own client may end with an error when its stream breaks
    with Server(tmp_path) as again, over_sse(again.url("cline", "ann")) as client:
        assert client.texts() == ["Lives in Berlin, on the third floor", "常量全部采用大写字母加下划线进行命名"]
        assert client.search("常量怎么命名")[0]["memory"] == "常量全部采用大写字母加下划线进行命名"
        assert client.search("berlin floor")[0]["memory"] == "Lives in Berlin, on the third floor"


def test_code_preference_word_for_word(keyless: Server) -> None:
    """The first story as far as the keyless mode promises it: kept, recalled, not corrected."""
    with over_sse(keyless.url("cline", "dev")) as client:
        for text in ("变量采用小驼峰命名", "常量全部采用大写字母加下划线进行命名", "函数名以动词开头"):
            assert [r["event"] for r in client.add(text)["results"]] == ["ADD"]
    with over_sse(keyless.url("cline", "dev")) as client:
        best = client.search("常量怎么命名？")[0]
        assert best["memory"] == "常量全部采用大写字母加下划线进行命名"
        assert 0.5 < best["score"] <= 1
        repeated = client.add("变量采用小驼峰命名")
        assert repeated["results"] == []
        assert repeated["message"]
        assert len(client.memories()) == 3


def test_travel_planner_word_for_word(tmp_path: Path) -> None:
    """The second story: told through one process, recalled through another, Chinese throughout."""
    who = {"MCP_STDIO_CLIENT_NAME": "travel", "MCP_STDIO_USER_ID": "小李"}
    with over_stdio(tmp_path, **who) as cline:
        cline.add("我喜欢吃辣的东西，现在住在上海，爱看科幻电影")
    with Server(tmp_path) as server, over_sse(server.url("travel", "小李")) as cherry:
        assert cherry.search("这个人住在哪里")[0]["memory"] == "我喜欢吃辣的东西，现在住在上海，爱看科幻电影"
        assert cherry.search("科幻电影")[0]["user_id"] == "小李"


def test_a_search_without_a_match_answers_with_the_newest_and_says_so(keyless: Server) -> None:
    with over_sse(keyless.url("cline", "lost")) as client:
        client.add("Drinks tea")
        client.add("养了一只猫")
        hits = client.search("?")
        assert [hit["memory"] for hit in hits] == ["养了一只猫", "Drinks tea"]
        assert all(hit["note"] for hit in hits)


def test_two_editors_share_one_data_directory_and_one_takes_over(tmp_path: Path) -> None:
    """Two editors that each start a stdio child: both see one memory, also after the one that serves it was killed."""
    first_pid, second_pid = tmp_path / "first.pid", tmp_path / "second.pid"
    with over_stdio(tmp_path, pid_file=second_pid) as second:
        with over_stdio(tmp_path, pid_file=first_pid) as first:
            first.add("Told to the first")
            second.add("Told to the second")
            assert sorted(first.texts()) == sorted(second.texts()) == ["Told to the first", "Told to the second"]
        wait_until(lambda: not alive(int(first_pid.read_text())), 30)
        assert sorted(second.texts()) == ["Told to the first", "Told to the second"]


def test_taking_over_from_a_process_that_was_killed(tmp_path: Path) -> None:
    with Server(tmp_path) as server, over_sse(server.url("c", "u")) as told:
        told.add("Told before the crash")
        with over_stdio(tmp_path, MCP_STDIO_CLIENT_NAME="c", MCP_STDIO_USER_ID="u") as other:
            assert other.texts() == ["Told before the crash"]
            server.kill()
            assert other.texts() == ["Told before the crash"]
            other.add("Told after the crash")
            assert other.texts() == ["Told after the crash", "Told before the crash"]


def test_delete_all_means_all_of_this_scope(keyless: Server) -> None:
    with over_sse(keyless.url("cline", "ann")) as ann, over_sse(keyless.url("cline", "bob")) as bob:
        ann.add("One")
        ann.add("Two")
        bob.add("Three")
        assert ann.delete_all()["deleted"] == 2
        assert ann.memories() == []
        assert bob.texts() == ["Three"]


def test_the_example_runs(keyless: Server) -> None:
    script = Path(__file__).parents[2] / "examples" / "remember_and_recall.py"
    command = [sys.executable, str(script), keyless.url("my_client", "my_user")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START, check=True)
    score, _, text = done.stdout.splitlines()[0].partition(" ")
    assert text == "常量全部大写，单词之间用下划线隔开"
    assert 0.5 < float(score) <= 1
