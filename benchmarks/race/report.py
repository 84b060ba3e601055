"""What was measured, as tables in Markdown and as a picture."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.race.meter import Measured

Runs = Mapping[str, Sequence[Measured]]  # by contender, a run each round
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"


class Heat(NamedTuple):
    """One comparison: a title, and the runs of each contender."""

    title: str
    runs: Runs


def median(runs: Sequence[Measured]) -> Measured:
    return Measured(*(statistics.median(column) for column in zip(*runs, strict=True)))


def ratio(ours: Sequence[Measured], theirs: Sequence[Measured]) -> str:
    """How many times as fast the archiver is: the median over the rounds, for the machine changes between them."""
    each = [their.wall / our.wall for our, their in zip(ours, theirs, strict=True)]
    return f"{statistics.median(each):.2f}" + (f" ({min(each):.2f} to {max(each):.2f})" if len(each) > 1 else "")


def first_loads(heat: Heat) -> str:
    ours = heat.runs["archiver"]
    rows = [
        "| | lines/s | archiver × | CPU s: client | Postgres | Integrator | peak MB | requests | WAL MB | disk MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in heat.runs.items():
        one = median(runs)
        rows.append(
            f"| {name} | {one.lines / one.wall:,.0f} | {'' if runs is ours else ratio(ours, runs)}"
            f" | {one.client:.1f} | {one.postgres:.1f} | {one.server:.1f} | {one.megabytes:,.0f} | {one.requests:,.0f}"
            f" | {one.wal:,.0f} | {one.disk:,.0f} |"
        )
    return "\n".join((f"### {heat.title}\n", *rows, ""))


def later_loads(title: str, runs: Runs, firsts: Runs) -> str:
    rows = [
        "| | seconds | × its first load | CPU s: client | Postgres | requests | WAL MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, some in runs.items():
        one, first = median(some), median(firsts[name])
        rows.append(
            f"| {name} | {one.wall:.1f} | {first.wall / one.wall:.1f} | {one.client:.1f} | {one.postgres:.1f}"
            f" | {one.requests:,.0f} | {one.wal:,.1f} |"
        )
    return "\n".join((f"### {title}\n", *rows, ""))


def killed(asked: Mapping[str, tuple[int, int]], firsts: Runs) -> str:
    rows = [
        "| | requests before kill -9 | after it | asked for again, of what it had |",
        "|---|---|---|---|",
    ]
    for name, (before, after) in asked.items():
        again = before + after - median(firsts[name]).requests
        rows.append(f"| {name} | {before:,} | {after:,} | {max(0.0, again / before):.0%} |")
    return "\n".join(("### Killed in the middle of its first load, and started again\n", *rows, ""))


def picture(heats: Sequence[Heat]) -> str:
    """Bars of lines per second, as SVG that is readable on light and on dark ground."""
    bars: list[str] = []
    y = 8
    fastest = max(one.lines / one.wall for heat in heats for one in map(median, heat.runs.values()))
    for heat in heats:
        bars.append(f'<text x="8" y="{y + 14}" class="title">{escape(heat.title)}</text>')
        y += 24
        for name, runs in heat.runs.items():
            one = median(runs)
            speed = one.lines / one.wall
            width = max(2.0, speed / fastest * 420)
            kind = "ours" if name == "archiver" else "theirs"
            bars.append(f'<text x="168" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
            bars.append(f'<rect x="176" y="{y}" width="{width:.1f}" height="18" rx="2" class="{kind}"/>')
            bars.append(f'<text x="{182 + width:.1f}" y="{y + 13}">{speed:,.0f}</text>')
            y += 24
        y += 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {y}" width="700" role="img"'
        ' aria-label="lines per second">\n<style>text{font:13px system-ui,sans-serif;fill:#777}'
        ".title{font-weight:600}.ours{fill:#2f855a}.theirs{fill:#8896a8}</style>\n" + "\n".join(bars) + "\n</svg>\n"
    )


def into(document: Path, text: str) -> None:
    """Put what was measured in its place in a document."""
    whole = document.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    assert pattern.search(whole), f"{document} has no place for it"
    document.write_text(pattern.sub(lambda _: f"{BEGIN}{text}{END}", whole), encoding="utf-8")
