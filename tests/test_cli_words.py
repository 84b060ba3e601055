"""What people read: the log, harmless text, times and spans in words."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver import cli
from archiver.amounts import many, size
from archiver.cli import demo, output, show, words
from archiver.cli.call import WrongCall
from archiver.config import Config
from archiver.queries import Body
from archiver.queries.details import OUTCOMES
from archiver.queries.one_log import LogFile
from archiver.signs import Facts, FlowFacts, Settings, conditions
from archiver.web.pages.log import why_not

_LOGGING = """
import logging, structlog
from archiver.cli.log import configure_logging
from archiver.config import Logging
configure_logging(Logging("info", {format!r}))
log = structlog.get_logger("archiver.daemon")
log.debug("unseen")
log.info("turn", flow="price", password="hunter2", errors=["postgresql://me:hunter2@host/db", "Bearer hunter2"])
log.warning("odd \x1b[31m\u202e")
logging.getLogger("urllib3").info("unseen")
logging.getLogger("apscheduler").error("job %s failed", 7)
try:
    hunter = "hunter2"
    raise ValueError("postgresql://me:hunter2@host/db refused")
except ValueError:
    log.exception("crashed", data={{"token": "hunter2"}})
"""


@pytest.mark.parametrize("format_", ["auto", "console"])
def test_the_log_tells_no_secret_and_acts_on_no_terminal(format_: str) -> None:
    code = _LOGGING.format(format=format_)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    text = said.stderr.decode()
    assert said.stdout == b""
    # The traceback quotes this program's own source; what it knows by value must not be there.
    quoted = [line for line in text.splitlines() if "hunter = " not in line]
    assert "hunter2" not in "\n".join(quoted)
    assert "unseen" not in text
    assert "\x1b[31m" not in text
    assert "\u202e" not in text
    assert "job 7 failed" in text
    assert "postgresql://me:***@host/db" in text
    if format_ != "console":
        events = [json.loads(line) for line in text.splitlines()]
        assert [event["event"] for event in events][:2] == ["turn", "odd \x1b[31m\u202e"]
        assert events[0]["flow"] == "price"
        assert events[0]["timestamp"].endswith("Z")
        assert "ValueError" in events[-1]["exception"]


def test_text_is_made_harmless_and_words_stay_words() -> None:
    assert words.clean("\x1b[31m\u202e\x9b") == "\\x1b[31m\\u202e\\x9b"
    assert words.clean("a\r\n\tb\u2028c") == "a b c"
    assert words.clean("ürün 👩\u200d👧 शक\u094d\u200dष") == "ürün 👩\u200d👧 शक\u094d\u200dष"


@pytest.mark.parametrize(
    ("seconds", "said", "short"),
    [
        (None, "", ""),
        (0, "0 s", "0 s"),
        (0.84, "0.8 s", "1 s"),
        (59.6, "1 min", "1 min"),
        (200.5, "3 min 20 s", "3 min"),
        (7_380, "2 h 3 min", "2 h"),
        (90_000, "1 d 1 h", "1 d"),
        (-61, "-1 min 1 s", "-1 min"),
    ],
)
def test_spans(seconds: float | None, said: str, short: str) -> None:
    assert (words.span(seconds), words.span(seconds, short=True)) == (said, short)


def test_amounts() -> None:
    """Commands, alerts and pages say the same; an archive of terabytes is one."""
    assert [many(count, "run") for count in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
    assert [size(count) for count in (None, 0, 999)] == ["", "0 B", "999 B"]
    assert [size(count) for count in (1000, 999_600, 5e11, 1.2e12, 2e15)] == [
        "1.0 kB",
        "1.0 MB",
        "500.0 GB",
        "1.2 TB",
        "2000.0 TB",
    ]


def test_moments() -> None:
    now = datetime(2025, 3, 10, 12, tzinfo=UTC)
    assert words.moment("7d", now) == now - timedelta(days=7)
    assert words.moment("2025-03-01T12:00+03:00", now) == datetime(2025, 3, 1, 9, tzinfo=UTC)
    midnight = datetime(2025, 3, 1).astimezone()
    assert words.moment("2025-03-01", now) == midnight
    assert words.moment("2025-03-01", now, end=True) == datetime(2025, 3, 2).astimezone()
    assert words.moment("20250301", now, end=True) == datetime(2025, 3, 2).astimezone()
    for hour in ("2025-03-01 12", "2025-03-01T12", "20250301T12", "2025-03-01 12:00"):
        assert words.moment(hour, now, end=True) == datetime(2025, 3, 1, 12).astimezone()
    assert words.moment("yesterday", now, end=True) == words.moment("today", now)
    assert words.ago(now - timedelta(minutes=2), now) == "2 min ago"
    for nonsense in ("", "7 moons", "2025-13-01", "9999999y", "0000-00-00"):
        with pytest.raises(ValueError, match=r"."):
            words.moment(nonsense, now)


def test_one_long_message_does_not_pad_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table([output.Column("ID", keep=True), output.Column("MESSAGE")], [["1", "x" * 5000], ["2", "short"]])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 310
    assert len(lines) == 3


@pytest.mark.parametrize(("count", "wanted", "said"), [(6, 20, True), (0, 20, False), (6, 0, False)])
def test_lines_that_have_gone_are_told_of(
    count: int, wanted: int, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    show._print_lines({"line_count": count}, [], wanted)
    assert ("not in the archive any more" in capsys.readouterr().out) is said


def test_a_lone_carriage_return_stays_within_its_value(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Else what stands behind it is a record of its own, and may begin with a formula."""
    output.write_csv(["a", "b"], [["not found\r=cmd|x", 1], ["two\nlines", 2]])
    written = capsysbinary.readouterr().out.decode()
    assert written == 'a,b\n"not found\r=cmd|x",1\n"two\nlines",2\n'
    assert list(csv.reader(io.StringIO(written, newline=""))) == [
        ["a", "b"],
        ["not found\r=cmd|x", "1"],
        ["two\nlines", "2"],
    ]


@pytest.mark.parametrize("outcome", [*OUTCOMES, "odd"])
def test_why_there_is_no_document_is_said_alike_by_command_and_page(outcome: str) -> None:
    said = OUTCOMES.get(outcome, "odd")
    body = Body("zip", True, None, None, 3, "why")
    command = show._why_not({"outcome": outcome}, body)
    assert command.startswith(f"the file {said}")
    assert command.endswith(": why; --raw gives its bytes")
    file = LogFile(outcome, None, None, None, 3, "why", None, "zip", True, None, None)
    assert why_not(file) == f"It {said}: why."


def test_commands_to_copy_can_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever paths and flows are called."""
    monkeypatch.chdir(tmp_path)
    name, now = "it's a flow", datetime.now(UTC)
    assert cli.main(["--config", "my own.yaml", "init"]) == 0
    demo._say_next(Path("my own"), Config(None, tmp_path), live=False)
    flow = FlowFacts(1, name, "prod", now, gaps=1, missing="gap")
    said = capsys.readouterr().out + conditions(Facts(now, (flow,)), Settings())[0].detail
    with pytest.raises(WrongCall) as several:
        show._only_detail([{"flow_name": name, "log_type": kind} for kind in ("main", "sub")], 1)
    said += str(several.value)
    after = [shlex.split(rest)[0] for rest in re.findall(r"--(?:config|flow) (.+?)(?:`|$)", said, re.MULTILINE)]
    assert sorted(set(after)) == [name, "my own.yaml", "my own/config.yaml"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_sentences_are_shown_whole_however_narrow_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    columns = [
        output.Column("WHEN", keep=True),
        output.Column("FLOW"),
        output.Column("ANSWER", text=True),
        output.Column("RUN", keep=True),
    ]
    rows = [["2025-03-01 12:00:00", "stock", "refused as often as it was sent " * 4, "3f0c9a1e"] for _ in range(2)]
    output.print_table(columns, [*rows, ["2025-03-01 12:00:01", "price", "", "4f0c9a1e"]])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    said = " ".join(lines)
    assert said.count("often") == said.count("refused") == 8
    assert "…" not in said
    assert all(one in lines[0] for one in ("WHEN", "FLOW", "RUN"))
    beside = width > 60
    assert ("ANSWER" in lines[0]) is beside
    assert [line.split()[-1] for line in lines if line.startswith("2025")] == ["3f0c9a1e", "3f0c9a1e", "4f0c9a1e"]
    if not beside:
        assert lines[1:4:2] == ["    ANSWER", "    refused as often as it was sent refused as often as it"]


def test_sentences_that_fit_stay_beside_their_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    output.print_table([output.Column("ID", keep=True), output.Column("WHAT", text=True)], [["1", "a short one"]])
    assert capsys.readouterr().out == "ID  WHAT\n1   a short one\n"
