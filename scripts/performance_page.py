"""Writes the figures of docs/performance.md and its Chinese twin from what the benchmarks have kept.

    make bench JSON=docs/images/load.json && make soak JSON=docs/images/soak.json && make bench-scaling
    python scripts/performance_page.py [--check]

Between the markers `<!-- NAME: begin -->` and `<!-- NAME: end -->` nothing is written by hand. `--check` changes
nothing and ends with status 1 if a page differs.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import capacity_plan

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "docs" / "images"
PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.zh.md")  # the index is the language

Document = Mapping[str, Any]

CAUSES = {  # of soaking/judgement.py, in Chinese
    "a process that was killed": "进程被杀",
    "a process too busy to take a message": "进程太忙，没有及时接收消息",
    "a fault of the LLM": "大模型的故障",
    "a fault of Tablestore": "Tablestore 的故障",
    "other sessions, which changed the same memory at the same time": "其他会话同时改动同一条记忆",
}


def load(document: Document, zh: bool) -> str:
    """The table of goals, and what the run was."""
    head = ["", "本项目", "参照版本", "比", "目标", ""] if zh else ["", "ours", "reference", "ratio", "goal", ""]
    mark = {True: "达到" if zh else "reached", False: "**未达到**" if zh else "**missed**", None: "?"}
    rows = [
        [
            f"{row['zh' if zh else 'what']}{_unit(row['unit'], zh)}",
            *(_number(row[name]) for name in ("ours", "reference", "ratio")),
            row["goal"],
            mark[row["reached"]],
        ]
        for row in document["rows"]
    ]
    reached = sum(row["reached"] is True for row in document["rows"])
    rounds, clients = document["rounds"], ", ".join(f"{k} {v:.2f} ms" for k, v in document["clients"].items())
    if zh:
        about = f"{rounds} 轮的中位数；{len(rows)} 项目标达到 {reached} 项。负载程序每次调用的 CPU：{clients}。"
    else:
        about = f" Rounds: {rounds}, medians. {reached} of {len(rows)} goals are reached."
        about += f" CPU of the load itself per call: {clients}."
    return f"{_table(head, rows)}\n\n{_about(document, zh)}{about}"


def soak(document: Document, zh: bool) -> str:
    names = {
        "calls_answered": ("calls answered", "应答的调用"),
        "calls_per_second": ("calls per second", "每秒调用"),
        "sessions_opened": ("SSE sessions opened, again and again", "（反复）打开的 SSE 会话"),
        "changes_acknowledged": ("changes acknowledged", "已确认的改动"),
        "processes_killed": ("processes killed", "被杀的进程"),
        "restart_seconds": ("seconds until one listened again, median", "重新监听所需秒数，中位数"),
        "tablestore_calls": ("Tablestore calls", "Tablestore 请求"),
        "index_searches": ("of them searches of the index", "其中多元索引查询"),
        "tablestore_calls_throttled": ("of them throttled", "其中被限流的"),
        "streams_cut_by_a_busy_process": ("streams cut by a busy process", "被繁忙的进程切断的流"),
        "memory_mb_of_the_one_that_lives": ("MB of the process that lives, at the end", "存活进程结束时的内存，MB"),
    }
    rows = [[text[zh], _number(document[key])] for key, text in names.items()]
    for tool in ("search_memories", "add_memories", "list_memories"):
        took = " · ".join(_number(value) for value in document.get(f"{tool}_p50_p95_p99_ms", []))
        rows.append([f"`{tool}`, p50 · p95 · p99, ms", took])
    growth = document["growth"]
    grown = f"{growth['memory'] / 1e6:+.1f} MB, {growth['descriptors']:+d}, {growth['threads']:+d}"
    rows += [
        [("growth after warm-up: memory, descriptors, threads", "预热后的增长：内存、描述符、线程")[zh], grown],
        [("**acknowledged changes that are lost**", "**丢失的已确认改动**")[zh], f"**{len(document['lost'])}**"],
        *(
            [f"出错，原因是{CAUSES[cause]}" if zh else f"errors caused by {cause}", _number(count)]
            for cause, count in document["explained"].items()
        ),
        [("**errors without a cause**", "**没有原因的错误**")[zh], f"**{len(document['unexplained'])}**"],
    ]
    seconds = f"{document['seconds']:.0f}"
    about = f"{_about(document, zh)}" + (f"{seconds} 秒。" if zh else f" {seconds} seconds.")
    return f"{_table(['', ''], rows)}\n\n{about}"


def scaling(document: Document, zh: bool, axis: str) -> str:
    """Both contenders at each size: p50, memory, calls of Tablestore."""
    first = {"memories": ("memories", "记忆数"), "sessions": ("sessions", "会话数")}[axis][zh]
    head = [first]
    for who in ("本项目", "参照") if zh else ("ours", "reference"):
        head += [f"{who}：p50 ms", "MB", "请求"] if zh else [f"{who}: p50 ms", "MB", "calls"]
    points: dict[int, list[str]] = {}
    for who in ("ours", "reference"):
        for point in document.get(who, {}).get(axis, []):
            points.setdefault(point["n"], []).extend(_number(point[key]) for key in ("p50_ms", "memory_mb", "reads"))
    rows = [[f"{n:,}", *cells] for n, cells in sorted(points.items())]
    return f"{_table(head, rows)}\n\n{_about(document, zh)}"


def blocks() -> dict[str, Callable[[bool], str]]:
    """What stands between which markers, by the language."""
    kept = {name: json.loads((DATA / f"{name}.json").read_text()) for name in ("load", "soak", "scaling")}
    return {
        "load": lambda zh: load(kept["load"], zh),
        "memories": lambda zh: scaling(kept["scaling"], zh, "memories"),
        "sessions": lambda zh: scaling(kept["scaling"], zh, "sessions"),
        "soak": lambda zh: soak(kept["soak"], zh),
        "plan": lambda zh: capacity_plan.text(kept["load"], zh),
    }


def written(page: str, made: Mapping[str, Callable[[bool], str]], zh: bool) -> str:
    """The page with new blocks. Raises ValueError if a marker is missing."""
    for name, make in made.items():
        pattern = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
        if not pattern.search(page):
            raise ValueError(f"the markers of {name!r} are missing")
        escaped = make(zh).replace("\\", r"\\")
        page = pattern.sub(rf"\g<1>{escaped}\n\g<2>", page)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = blocks()
    differing = []
    for language, page in enumerate(PAGES):
        old = page.read_text("utf-8")
        new = written(old, made, bool(language))
        if new != old:
            differing.append(page.name)
            if not check:
                page.write_text(new, "utf-8")
    print(", ".join(differing) or "nothing to change")
    sys.exit(1 if check and differing else 0)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(document: Document, zh: bool) -> str:
    busy, what = document["load_average_before"], (document["commit"], document["date"], document["machine"])
    if zh:
        noisy = f"机器当时另有负载（平均负载 {busy}），只有比值可信。" if busy > 1 else ""
        return "提交 `{}`，{}，{}。".format(*what) + noisy
    noisy = f" The machine was busy with other work (load average {busy}): trust the ratios only." if busy > 1 else ""
    return "Commit `{}`, {}, {}.".format(*what) + noisy


def _unit(unit: str, zh: bool) -> str:
    return f"{'，' if zh else ', '}{unit}" if unit else ""


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
