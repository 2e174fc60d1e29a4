"""The plan of docs/performance.md for a million users: measured unit costs × an assumed use × list prices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

USERS = 1_000_000
SEARCHES, ADDS = 300, 90  # of one user in a month
MEMORIES = 200  # of one user
PEAK = 5.0  # times the mean
MONTH = 30 * 86_400.0  # seconds
CONNECTED = 0.02  # of the users, at the same time, if they use SSE
MAX_SESSIONS = 1_000  # of one process
BUSY = 0.6  # of one core, at the peak; more makes queues
LLM_SECONDS = 4.0  # of an add with a real model, both calls
ADD_WORKERS = 128  # of one process, by default
ROW_BYTES = 7_000  # of one memory at 1,536 dimensions: vector 6,144, text, metadata, names, history
LLM_IN, LLM_OUT = 2_900, 80  # tokens of the two calls of an add: 4,200 and 7,400 characters go in
EMBEDDED_TOKENS = 30  # of one query or fact

# CNY. Sources and dates stand on the page.
READ_UNIT = 0.01 / 10_000
WRITE_UNIT = 0.02 / 10_000  # unverified
GB_MONTH = 0.0003 * 7.1 * 720  # USD an hour, at 7.1 CNY
RESERVED_UNIT_HOUR = 0.00056
VCPU_SECOND = 0.00011
LLM_IN_TOKEN, LLM_OUT_TOKEN, EMBEDDING_TOKEN = 0.0008 / 1_000, 0.002 / 1_000, 0.0005 / 1_000

HEAD = (
    ("", "a million users", "CNY a month", "CNY per user-month"),
    ("", "一百万用户", "元／月", "元／用户·月"),
)
NAMES = {
    "peak": ("searches + adds at the peak", "峰值：搜索 + 添加"),
    "llm_peak": ("LLM calls at the peak", "峰值：大模型调用"),
    "instances": ("instances of one vCPU: for CPU · for adds that wait", "单 vCPU 实例数：按 CPU · 按等待中的添加"),
    "streams": ("instances, if 2 % of the users hold an SSE stream", "实例数：若 2 % 的用户保持 SSE 流"),
    "function": ("Function Compute, the more of these, all month", "函数计算：取较多者，全月运行"),
    "reads": ("read units", "读 CU"),
    "writes": ("write units", "写 CU"),
    "rows": ("storage of the rows", "行存储"),
    "index": (
        "search index over all rows, once one scope is large",
        "多元索引（只要有一个大作用域就覆盖所有行）",
    ),
    "embedder": ("texts to the embedder", "向量模型文本数"),
    "llm": ("LLM calls", "大模型调用"),
}


@dataclass(frozen=True, slots=True)
class Line:
    key: str  # of NAMES
    amount: str
    cny: float | None = None  # a month


def text(document: Mapping[str, Any], zh: bool) -> str:
    """The table, from the figures of load.json."""
    lines = _lines(document)
    total = sum(line.cny or 0.0 for line in lines)
    head = (
        ("", "每月 10⁶ 用户", "元／月", "元／用户·月")
        if zh
        else ("", "a million users", "CNY a month", "CNY per user-month")
    )
    rows: list[Sequence[str]] = [head, ["---"] * 4]
    rows += [[NAMES[line.key][zh], line.amount, _money(line.cny), _money(line.cny, USERS)] for line in lines]
    rows.append([("**together**", "**合计**")[zh], "", f"**{_money(total)}**", f"**{_money(total, USERS)}**"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _lines(document: Mapping[str, Any]) -> list[Line]:
    measured = {row["key"]: row["ours"] for row in document["rows"]}
    search, add = document["units"]["searches"], document["units"]["adds"]
    cpu = (SEARCHES * measured["cpu_search"] + ADDS * measured["cpu_add"]) / 1e3  # seconds of one user in a month
    peak = {"search": USERS * SEARCHES / MONTH * PEAK, "add": USERS * ADDS / MONTH * PEAK}
    cores = USERS * cpu / MONTH * PEAK
    by_cpu, by_adds = cores / BUSY, peak["add"] * LLM_SECONDS / ADD_WORKERS
    streams = USERS * CONNECTED / MAX_SESSIONS
    reads = USERS * (SEARCHES * search["read"] + ADDS * add["read"])
    writes = USERS * (SEARCHES * search["write"] + ADDS * add["write"])
    gigabytes = USERS * MEMORIES * ROW_BYTES / 1e9
    index_units = max(10 * gigabytes, 10 * USERS * MEMORIES / 2e6, 100)
    instances = max(by_cpu, by_adds)
    llm = USERS * ADDS * (LLM_IN * LLM_IN_TOKEN + LLM_OUT * LLM_OUT_TOKEN)
    embedding = USERS * (SEARCHES + 2 * ADDS) * EMBEDDED_TOKENS * EMBEDDING_TOKEN
    index = gigabytes * GB_MONTH + index_units * RESERVED_UNIT_HOUR * 720
    return [
        Line("peak", f"{peak['search']:,.0f} + {peak['add']:,.0f} /s"),
        Line("llm_peak", f"{2 * 60 * peak['add']:,.0f} /min"),
        Line("instances", f"{by_cpu:.0f} · {by_adds:.0f}"),
        Line("streams", f"{streams:.0f}"),
        Line("function", f"{instances:.0f} vCPU", instances * MONTH * VCPU_SECOND),
        Line("reads", f"{reads:,.0f}", reads * READ_UNIT),
        Line("writes", f"{writes:,.0f}", writes * WRITE_UNIT),
        Line("rows", f"{gigabytes:,.0f} GB", gigabytes * GB_MONTH),
        Line("index", f"{gigabytes:,.0f} GB, {index_units:,.0f} CU", index),
        Line("embedder", f"{USERS * (SEARCHES + 2 * ADDS):,.0f}", embedding),
        Line("llm", f"{USERS * ADDS * 2:,.0f}", llm),
    ]


def _money(cny: float | None, users: int = 1) -> str:
    if cny is None:
        return ""
    return f"{cny / users:.4f}" if users > 1 else f"{cny:,.0f}"
