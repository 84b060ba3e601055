"""The run on one page: plain HTML that loads nothing and runs nothing, and into which no value can write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from archiver.logs import canonical

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24 }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 2rem }}
th, td {{ border-bottom: 1px solid #d8dee4; padding: .3rem .6rem; text-align: left; vertical-align: top }}
th {{ white-space: nowrap }} .table {{ overflow-x: auto }}
h1, .text {{ overflow-wrap: anywhere }} .text {{ min-width: 16rem }}
@media (max-width: 40rem) {{ body {{ margin: 1rem auto }} .pairs th {{ white-space: normal }} }}
@media print {{ .table {{ overflow: visible }} .text {{ min-width: 0 }} td {{ overflow-wrap: anywhere }} }}
.failed {{ color: #b42318; font-weight: 600 }} .note {{ color: #57606a }} code {{ font-size: 12px }}
</style></head><body>
"""
_RUN = (
    ("run_id", "Run"),
    ("flow_name", "Flow"),
    ("project_id", "Project"),
    ("status", "Result"),
    ("started_at", "Started"),
    ("finished_at", "Finished"),
    ("process_count", "Items"),
    ("success_count", "Succeeded"),
    ("fail_count", "Failed"),
    ("triggered_by", "Started by"),
    ("log_id", "Log id"),
)
_TIMES = (
    ("first_seen_at", "First seen"),
    ("seen_at", "Last change seen"),
    ("sealed_at", "Confirmed complete"),
    ("archive_state", "State in the archive"),
    ("line_count", "Lines archived"),
    ("source_line_count", "Lines the Integrator counted"),
)


_TEXTS = ("message", "fields")  # columns that need room; words that are longer than that are broken

_CHECKING = """<h2>Checking</h2><p><code>sha256sum -c SHA256SUMS</code> in the unpacked folder proves that nothing of
it was changed since it was written. The SHA-256 of a file above is that of the file as it was fetched, unless its row
says that something was masked before it was stored.</p>"""


def page(
    run: Mapping[str, Any],
    times: Mapping[str, Any],
    *,
    steps: Sequence[Mapping[str, Any]],
    lines: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, Any]],
    file_count: int,
    now: datetime,
) -> str:
    """The whole page. `lines` and `files` are those to show; the zip has all."""
    title = f"{run['flow_name']} · {run['run_id'] or run['log_id']}"
    parts = [
        _HEAD.format(title=escape(title)),
        f"<h1>{_text(title)}</h1>",
        f'<p class="note">Written {_text(now)} from the archive of the Integrator\'s logs. All times are UTC.</p>',
        _pairs((label, run.get(name)) for name, label in _RUN),
        "<h2>In the archive</h2>",
        _pairs((label, times.get(name)) for name, label in _TIMES),
        _missing(times),
        f"<h2>Steps ({len(steps):,})</h2>",
        _table(
            steps, ("flow_order", "step_name", "status", "started_at", "finished_at", "success_count", "fail_count")
        ),
        f"<h2>Lines ({len(lines):,} shown of {run['line_count']:,})</h2>",
        _table(lines, ("row_num", "log_id", "status", "created_at", "step_name", "message", "fields")),
        f"<h2>Files ({len(files):,} shown of {file_count:,})</h2>",
        _table(
            files, ("file", "log_type", "log_id", "outcome", "fetched_at", "byte_size", "sha256", "document_changes")
        ),
        _CHECKING,
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _missing(times: Mapping[str, Any]) -> str:
    notes = []
    if times.get("archive_state") != "sealed":
        notes.append("The run is not confirmed to be complete in the archive.")
    if times.get("lines_pruned") is not None:
        notes.append("Its lines were older than they are kept, and are no longer in the archive.")
    if times.get("details_pruned") is not None:
        notes.append("Its files were older than they are kept, and are no longer in the archive.")
    return "".join(f'<p class="failed">{escape(note)}</p>' for note in notes)


def _text(value: Any) -> str:
    """A value as HTML; `bdi` keeps marks that reorder text to themselves."""
    if value is None:
        return ""
    text = canonical(value) if isinstance(value, datetime) else str(value)
    return f"<bdi>{escape(text)}</bdi>"


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    rows = "".join(f"<tr><th>{escape(label)}</th><td>{_text(value)}</td></tr>" for label, value in pairs)
    return f'<div class="table"><table class="pairs">{rows}</table></div>'


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    if not rows:
        return '<p class="note">none</p>'
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td{_class(name, row.get(name))}>{_text(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _class(name: str, value: Any) -> str:
    if name in ("status", "outcome") and value in ("failed", "missing", "unreadable"):
        return ' class="failed"'
    return ' class="text"' if name in _TEXTS else ""
