"""The table of goals: what each row is called, what it must reach, and how it is shown."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from measuring import median


@dataclass(frozen=True, slots=True)
class Goal:
    """`of` "ours": the figure itself; "ratio": ours over the reference's."""

    sign: Literal["≥", "≤"]
    bound: float
    of: Literal["ours", "ratio"] = "ours"
    unit: str = ""

    def reached(self, ours: float, reference: float) -> bool | None:
        """None: not measured."""
        value = ours if self.of == "ours" else ours / reference if reference else math.nan
        if math.isnan(value):
            return None
        return value >= self.bound if self.sign == "≥" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {number(self.bound)}{' ×' if self.of == 'ratio' else self.unit and ' ' + self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    what: str
    zh: str
    unit: str
    goal: Goal


ROWS = [
    Row("searches", "searches, 64 SSE sessions", "搜索，64 个 SSE 会话", "/s", Goal("≥", 15, "ratio")),
    Row(
        "adds",
        "adds, 64 SSE sessions, two LLM calls each",
        "添加，64 个 SSE 会话，各两次大模型调用",
        "/s",
        Goal("≥", 50, "ratio"),
    ),
    Row("cpu_search", "CPU of the server per search", "服务进程每次搜索的 CPU", "ms", Goal("≤", 4, unit="ms")),
    Row("cpu_add", "CPU of the server per add", "服务进程每次添加的 CPU", "ms", Goal("≤", 12, unit="ms")),
    Row(
        "beside",
        "a search beside 32 running adds, p95, over one alone, p50",
        "与 32 个添加并行时的搜索 p95，比单独搜索 p50",
        "×",
        Goal("≤", 1.5, unit="×"),
    ),
    Row(
        "alone",
        "one search alone, p50, over the embedder's latency",
        "单独一次搜索 p50，比向量模型的延迟",
        "×",
        Goal("≤", 1.12, unit="×"),
    ),
    Row("opening", "opening 64 SSE sessions", "打开 64 个 SSE 会话", "s", Goal("≤", 1, unit="s")),
    Row("port_open", "start until the port is open", "启动到端口打开", "s", Goal("≤", 0.05, "ratio")),
    Row(
        "first_search",
        "start until the first search is answered",
        "启动到首次搜索有结果",
        "s",
        Goal("≤", 0.50, "ratio"),
    ),
    Row("memory", "memory after it", "此后的内存", "MB", Goal("≤", 0.71, "ratio")),
    Row(
        "first_add",
        "first add after the start, beyond LLM and embedder",
        "启动后首次添加，大模型与向量模型之外的时间",
        "s",
        Goal("≤", 0.5, unit="s"),
    ),
    Row(
        "stdio",
        "stdio: start until `initialize` is answered",
        "stdio：启动到 `initialize` 有应答",
        "s",
        Goal("≤", 0.6, unit="s"),
    ),
    Row(
        "http_list",
        "Streamable HTTP list calls, one process",
        "Streamable HTTP 列出记忆，单进程",
        "/s",
        Goal("≥", 400, unit="/s"),
    ),
    Row(
        "large_ratio",
        "a search of 7,500 memories over one of 180, embedded",
        "内置存储：7,500 条时的搜索比 180 条时",
        "×",
        Goal("≤", 2, unit="×"),
    ),
    Row(
        "large_first",
        "the first search of 7,500 memories, embedded",
        "内置存储：7,500 条时的首次搜索",
        "ms",
        Goal("≤", 300, unit="ms"),
    ),
    Row(
        "large_list",
        "list of 7,500 memories, a page of 1 MB, embedded",
        "内置存储：列出 7,500 条（一页 1 MB）",
        "ms",
        Goal("≤", 80, unit="ms"),
    ),
    Row(
        "writers_p95",
        "16 clients adding to one scope, verbatim, p95",
        "16 个客户端同时向一个作用域逐字添加，p95",
        "s",
        Goal("≤", 0.5, unit="s"),
    ),
    Row("writers_rate", "the same, adds", "同上，添加", "/s", Goal("≥", 100, unit="/s")),
    Row("writers_refused", "the same, refused", "同上，被拒绝", "", Goal("≤", 0)),
    Row(
        "keyless",
        "searches on the embedded store, no key, 64 SSE sessions",
        "内置存储搜索，无密钥，64 个 SSE 会话",
        "/s",
        Goal("≥", 300, unit="/s"),
    ),
]

Figures = Mapping[str, Sequence[float]]  # a row's key to one figure per round


def results(ours: Figures, reference: Figures, notes: Mapping[str, str]) -> list[dict[str, Any]]:
    """One dictionary for each row that was measured; what was not is None."""
    found = []
    for row in ROWS:
        if row.key not in ours:
            continue
        mine, other = median(ours[row.key]), median(reference.get(row.key, []))
        found.append(
            {
                **{k: v for k, v in asdict(row).items() if k != "goal"},
                "ours": _known(mine),
                "reference": _known(other),
                "ratio": _known(mine / other) if other else None,
                "goal": str(row.goal),
                "reached": row.goal.reached(mine, other),
                "rounds": {"ours": list(map(_known, ours[row.key]))}
                | ({"reference": list(map(_known, reference[row.key]))} if row.key in reference else {}),
                "note": notes.get(row.key, ""),
            }
        )
    return found


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """For a terminal."""
    lines = [f"{'':<60}{'ours':>10}{'reference':>12}{'ratio':>8}  {'goal':<10}"]
    for row in rows:
        shown = [number(row[name]) for name in ("ours", "reference", "ratio")]
        mark = {True: "reached", False: "MISSED", None: "?"}[row["reached"]]
        what = f"{row['what']}{', ' if row['unit'] else ''}{row['unit']}"
        lines.append(f"{what:<60}{shown[0]:>10}{shown[1]:>12}{shown[2]:>8}  {row['goal']:<10}{mark}")
        if row["note"]:
            lines.append(f"    {row['note']}")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """With three digits that matter."""
    if value is None or math.isnan(value):
        return "–"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
