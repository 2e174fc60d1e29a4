"""The pictures of docs/performance.md: line charts as plain SVG, legible on light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 300, 250  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 44
LEGEND = 30
STYLE = """
text{font:12px -apple-system,"Segoe UI",Roboto,"PingFang SC","Microsoft YaHei",sans-serif;fill:#24292f}
.title{font-weight:600}.small{font-size:11px;fill:#57606a}
.grid{stroke:#d0d7de;stroke-width:1}.ours{stroke:#0969da;fill:#0969da}.reference{stroke:#bc4c00;fill:#bc4c00}
.line{fill:none;stroke-width:2}.reference.line{stroke-dasharray:6 4}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.grid{stroke:#3d444d}
.ours{stroke:#4493f8;fill:#4493f8}.reference{stroke:#f0883e;fill:#f0883e}.line{fill:none}}
"""

Points = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands on the vertical axis: a figure of the points, by its key, and its title in English and Chinese."""

    key: str
    en: str
    zh: str


PICTURES: dict[str, list[Panel]] = {
    "memories": [
        Panel("p50_ms", "one search, p50, ms", "一次搜索 p50，毫秒"),
        Panel("first_ms", "first search of a process, ms", "进程的首次搜索，毫秒"),
        Panel("memory_mb", "memory of the process, MB", "进程内存，MB"),
        Panel("reads", "Tablestore calls per search", "每次搜索的 Tablestore 请求数"),
    ],
    "sessions": [
        Panel("p50_ms", "a search among all, p50, ms", "并发时一次搜索 p50，毫秒"),
        Panel("per_second", "searches per second", "每秒搜索数"),
        Panel("memory_mb", "memory of the process, MB", "进程内存，MB"),
        Panel("reads", "Tablestore calls per search", "每次搜索的 Tablestore 请求数"),
    ],
}
WORDS = {
    "memories": ("memories of one scope", "一个作用域的记忆数"),
    "sessions": ("concurrent sessions", "并发会话数"),
    "ours": ("this project", "本项目"),
    "reference": ("reference (1.3.1)", "参照版本（1.3.1）"),
}


def draw(document: Mapping[str, Any], folder: Path) -> None:
    """Write NAME.svg and NAME.zh.svg for each picture."""
    for name, panels in PICTURES.items():
        lines = {who: document[who][name] for who in ("ours", "reference") if who in document}
        for language, suffix in enumerate(("", ".zh")):
            (folder / f"scaling-{name}{suffix}.svg").write_text(_picture(name, panels, lines, language))


def _picture(name: str, panels: Sequence[Panel], lines: Mapping[str, Points], language: int) -> str:
    width, height = WIDTH * 2, HEIGHT * ((len(panels) + 1) // 2) + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
    ]
    for number, who in enumerate(lines):
        x = LEFT + number * 190
        parts.append(f'<path class="{who} line" d="M{x} 16h28"/>')
        parts.append(f'<text x="{x + 36}" y="20">{escape(WORDS[who][language])}</text>')
    for number, panel in enumerate(panels):
        x, y = number % 2 * WIDTH, LEGEND + number // 2 * HEIGHT
        inside = _panel(panel, panel.zh if language else panel.en, WORDS[name][language], lines)
        parts.append(f'<g transform="translate({x} {y})">{inside}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, title: str, below: str, lines: Mapping[str, Points]) -> str:
    """Both axes are logarithmic."""
    xs = sorted({point["n"] for points in lines.values() for point in points})
    values = [max(point[panel.key], 0.01) for points in lines.values() for point in points]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    span = math.log10(xs[-1] / xs[0]) or 1.0

    def across(n: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * math.log10(n / xs[0]) / span, 1)

    def up(value: float) -> float:
        share = (math.log10(max(value, 0.01)) - low) / (high - low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    parts = [f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>']
    for power in range(low, high + 1):
        y = up(10.0**power)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="small" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_tick(10.0**power)}</text>')
    parts += [
        f'<text class="small" x="{across(n)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_tick(n)}</text>'
        for n in xs
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="small" x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(below)}</text>')
    for who, points in lines.items():
        places = [(across(point["n"]), up(point[panel.key])) for point in points]
        parts.append(f'<path class="{who} line" d="M{" L".join(f"{x} {y}" for x, y in places)}"/>')
        for (x, y), point in zip(places, points, strict=True):
            label = f"{WORDS[who][0]}, {point['n']:,}: {point[panel.key]:,}"
            parts.append(f'<circle class="{who}" cx="{x}" cy="{y}" r="3"><title>{escape(label)}</title></circle>')
    return "".join(parts)


def _tick(value: float) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
