"""A place or a key that cannot be used is said at the start; what is printed to be pasted means the same anywhere."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.processes import COMMAND, START, clean_environ, run_to_end


@pytest.mark.parametrize("transport", ["sse", "stdio"])
def test_a_data_dir_that_is_a_file_stops_the_start(tmp_path: Path, transport: str) -> None:
    (tmp_path / "taken").touch()
    done = run_to_end(tmp_path, f"--transport={transport}", environ={"DATA_DIR": str(tmp_path / "taken")})
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "DATA_DIR" in line
    assert "File exists" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_dir_that_may_not_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run_to_end(tmp_path, "--transport=stdio", environ={"DATA_DIR": str(tmp_path / "locked")})
    assert done.returncode == 2
    assert "DATA_DIR" in done.stderr


@pytest.mark.parametrize("given", ["~/memories", "memories"])
def test_the_block_to_paste_names_the_folder_that_is_used(tmp_path: Path, given: str) -> None:
    """Whatever the working directory of the client that it is pasted into."""
    done = subprocess.run(
        [*COMMAND, "--transport=stdio"],
        env=clean_environ(tmp_path, DATA_DIR=given),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START,
        check=True,
    )
    block, _ = json.JSONDecoder().raw_decode(done.stderr, done.stderr.index("{", done.stderr.index("over stdio")))
    [server] = block["mcpServers"].values()
    assert server["env"]["DATA_DIR"] == str(tmp_path / "memories")
    assert (tmp_path / "memories").is_dir()


def test_keys_without_an_instance_are_half_of_something(tmp_path: Path) -> None:
    """They were meant for Tablestore: memories kept on this machine instead would surprise."""
    keys = {"TABLESTORE_ACCESS_KEY_ID": "id", "TABLESTORE_ACCESS_KEY_SECRET": "very-secret"}
    done = run_to_end(tmp_path, "--transport=stdio", environ={"STORE": "auto", **keys})
    assert done.returncode == 2
    for name in ("TABLESTORE_INSTANCE_NAME", "TABLESTORE_ENDPOINT"):
        assert f"{name} is not set" in done.stderr
    assert "very-secret" not in done.stderr
