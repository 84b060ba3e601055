"""One run: what it was, its steps on a time axis, its lines, its files; and finding one by what a person has of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from archiver.queries import Reader, Row, flows, runs_named, steps_of, view_columns
from archiver.queries.names import LARGEST_ID
from archiver.queries.one_log import file_of, files_of_run
from archiver.queries.proof import times_of
from archiver.queries.reader import Place
from archiver.queries.run_lines import RunLines, page_of_lines
from archiver.web.errors import NotThere
from archiver.web.pages import tables
from archiver.web.pages.answers import page
from archiver.web.pages.asked import Asked, attempt, criteria_of, place_word
from archiver.web.pages.flow import flow_of
from archiver.web.room import Room

PAGE = 50  # lines
FILES = 20
STATUSES = ("failed", "success", "in_progress", "empty", "all")
TABLES = ("lines", "steps", "files")
AXIS = 1000  # units of the time axis of a run


class StepBar(NamedTuple):
    """A step, and where it stands on the axis of its run."""

    row: Row
    x: float
    width: float


def run(room: Room, request: Request) -> Response:
    """The page of a run, one of its tables, or all of it as JSON."""
    asked = Asked(request, room.clock())
    form = tables.format_of(asked)
    with room.reading() as reader:
        flow, one = flow_of(reader, request), run_of(reader, request)
        which, wrong = attempt(lambda: _lines_asked(asked, one), RunLines(), () if form else ("q",))
        if form:
            return _as_file(reader, asked, one, which, form)
        lines = page_of_lines(reader, one, which, PAGE)
        bars, seconds = _bars(one, steps_of(reader, one))
        values: dict[str, Any] = {
            "steps": bars,
            "seconds": seconds,
            "files": files_of_run(reader, one, FILES + 1),
            "times": times_of(reader, one),
            "file": file_of(reader, flow.flow_key, "main", one["log_id"]),
        }
    return page(
        room,
        request,
        "run.html",
        400 if wrong else 200,
        asked=asked,
        wrong=wrong,
        flow=flow,
        run=one,
        lines=lines,
        result=asked.text("status") if wrong else which.status or "all",
        statuses=STATUSES,
        following=asked.url(behind=place_word(lines.more)) if lines.more else None,
        axis=AXIS,
        most_files=FILES,
        **values,
    )


def run_of(reader: Reader, request: Request) -> Row:
    """The run that a path names; raises NotThere with a hint."""
    key, log_id = request.path_params["flow_key"], request.path_params["run"]
    statement = "SELECT * FROM reporting.run WHERE flow_key = %(key)s AND log_id = %(log_id)s"
    rows = reader.rows(statement, key=key, log_id=log_id) if log_id <= LARGEST_ID else []
    if not rows:
        raise NotThere(
            f"This flow has no run {log_id} in the archive: it may be of another flow, older than what is kept,"
            " or not archived yet. The search in the bar above finds runs by their id."
        )
    return rows[0]


def find(room: Room, request: Request) -> Response:
    """To the run that a word means: a run id or the beginning of one, or a log id."""
    word = request.path_params["word"]
    root = request.scope.get("root_path", "")
    with room.reading() as reader:
        found = named(reader, word)
    if len(found) == 1:
        return RedirectResponse(f"{root}/flows/{found[0]['flow_key']}/runs/{found[0]['log_id']}", 303)
    if not found:
        raise NotThere(
            f"No run, step or line has the id {word[:80]!r}, nor one that begins so. Is it complete?"
            " A run that was pruned, or not archived yet, is not found either."
        )
    return page(room, request, "runs.html", word=word, runs=found)


def named(reader: Reader, word: str) -> list[Row]:
    """The runs that a word may mean, newest first; none for what can be no id."""
    if not 4 <= len(word) <= 200 or "\0" in word:
        return []
    return runs_named(reader, word, [flow.flow_key for flow in flows(reader)])


def _lines_asked(asked: Asked, one: Row) -> RunLines:
    """Failed lines come first: they are all that is shown of a run that has some, until others are asked for."""
    default = "failed" if one["failed_line_count"] and not asked.text("q") else "all"
    status = asked.word("status", STATUSES, default)
    criteria = criteria_of(asked.text("q"))
    place = asked.place()
    return RunLines(
        "" if status == "all" else status,
        [one for one in criteria if one.field is not None],
        " ".join(one.value for one in criteria if one.field is None),
        Place(*place) if place else None,
    )


def _bars(one: Row, steps: list[Row]) -> tuple[list[StepBar], float]:
    """Each step as a bar on the axis of its run, and how many seconds that is long. What goes on reaches to its end."""
    begins = [step["started_at"] for step in steps] + [one["started_at"]]
    ends = [row["finished_at"] for row in [*steps, one] if row["finished_at"] is not None]
    first, last = min(begins), max([*ends, *begins])
    length = (last - first).total_seconds() or 1.0
    bars = []
    for step in steps:
        x = (step["started_at"] - first).total_seconds() / length * AXIS
        end = ((step["finished_at"] or last) - first).total_seconds() / length * AXIS
        bars.append(StepBar(step, round(min(x, AXIS - 4), 1), round(max(end - x, 4), 1)))
    return bars, length


def _as_file(reader: Reader, asked: Asked, one: Row, which: RunLines, form: str) -> Response:
    table = asked.word("table", TABLES)
    name = f"run-{one['log_id']}-{table}" if table else f"run-{one['log_id']}"
    if table == "steps":
        columns = view_columns(reader, "step")
        return tables.answer(form, name, steps_of(reader, one), columns)
    if table == "files":
        return tables.answer(form, name, files_of_run(reader, one, tables.MOST))

    def fetch(behind: Place | None, limit: int) -> tuple[list[Row], Place | None]:
        return page_of_lines(reader, one, replace(which, behind=behind), limit)

    def rest() -> str | None:
        return asked.url(behind=place_word(lines.more), format=form, table=table) if lines.more else None

    lines = tables.Parts(fetch, which.behind)
    if form == "json" and not table:
        parts = {
            "steps": steps_of(reader, one),
            "lines": tables.json_rows(lines),
            "details": files_of_run(reader, one, tables.MOST),
            "more_lines": rest(),
        }
        return tables.json_answer(name, {**one, **parts})
    columns = [*view_columns(reader, "line"), "file"]
    return tables.answer(form, name, lines, columns, rest)
