#!/usr/bin/env bash
# A stranger's machine: a clone of the last commit in an empty folder, an empty home, an environment of PATH and HOME.
# `make run` must set itself up and answer an MCP client, and what it was told must outlive `kill -9`.
set -euo pipefail
set -m  # a process group per background job: make, and the server that it started
source=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
group=

cleanup() {
  if [ -n "$group" ]; then kill -TERM -- "-$group" 2>/dev/null || true; wait "$group" 2>/dev/null || true; fi
  rm -rf "$place"
}
trap cleanup EXIT

git -c safe.directory='*' clone --quiet "$source" "$place/clone"  # a checkout may belong to another user
mkdir "$place/home"
cd "$place/clone"

# Starts `make run` on a free port; sets `group`, and `url` once it listens. The first start also installs.
start() {
  local log=$1 seconds=$2
  env -i PATH="$PATH" HOME="$place/home" SERVER_PORT=0 make run >"$log" 2>&1 &
  group=$!
  for ((i = 0; i < seconds * 2; i++)); do
    url=$(sed -n 's|^listening  *http://[^:]*:\([0-9]*\)$|http://127.0.0.1:\1/mcp/fresh/sse/clone|p' "$log")
    [ -n "$url" ] && return
    kill -0 "$group" 2>/dev/null || break
    sleep 0.5
  done
  echo "make run did not start:" >&2
  cat "$log" >&2
  exit 1
}

# Calls a tool, as a client process; its answer must hold `expected`.
call() {
  local expected=$1 answer
  shift
  answer=$(env -i PATH="$PATH" HOME="$place/home" PYTHONPATH=tests .venv/bin/python -m support.call_tool "$url" "$@")
  case "$answer" in *"$expected"*) ;; *) echo "$1 answered $answer, without $expected" >&2; exit 1 ;; esac
}

told="常量全部大写，单词之间用下划线隔开"
start "$place/first.log" 600
call '"event":"ADD"' add_memories text="$told"
kill -KILL -- "-$group"
wait "$group" 2>/dev/null || true
start "$place/second.log" 120
call "$told" search_memories query=常量怎么写

env -i PATH="$PATH" HOME="$place/home" PYTEST_ADDOPTS=tests/stories/test_keyless.py make unit
echo "fresh clone: make run set itself up, and remembered over kill -9; the tests set themselves up and passed."
