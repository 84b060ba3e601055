"""Documents for people, tables for programs, and what a page was asked for: without a server."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from archiver.cli.output import write_rows
from archiver.logs import load_exact
from archiver.queries import Criterion, Json, meant
from archiver.web.errors import WrongQuestion
from archiver.web.pages.asked import Asked, attempt, criteria_of, word_of
from archiver.web.pages.document import NODES, Node, bodies_of, indented_json, indented_xml, readable, tree_of
from archiver.web.pages.tables import csv_text, json_bytes

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def asked(query: str) -> Asked:
    scope = {"type": "http", "path": "/flows/1", "query_string": query.encode(), "headers": []}
    return Asked(Request(scope), NOW)


# --- documents ---


@pytest.mark.parametrize(
    "text", ['{"a":[1,{"b":"x, {y}: \\" z"},[],{}],"n":1.10,"big":12345678901234567890123,"e":1E400}', "[]", '[1,"["]']
)
def test_json_is_indented_and_nothing_else(text: str) -> None:
    shown = indented_json(text)
    assert load_exact(shown) == load_exact(text)
    assert ("1.10" in shown) == ("1.10" in text)
    assert indented_json('{"a":[1,2]}') == '{\n  "a": [\n    1,\n    2\n  ]\n}'


def test_xml_is_indented_and_never_expanded() -> None:
    assert indented_xml("<a><b>x</b><c/><d><e>1</e></d></a>") == (
        "<a>\n  <b>x</b>\n  <c/>\n  <d>\n    <e>1</e>\n  </d>\n</a>"
    )
    bomb = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>'
    assert "&z;" in indented_xml(bomb)
    assert len(indented_xml(bomb)) < 2 * len(bomb)
    assert "<![CDATA[<b>]]>" in indented_xml("<a><![CDATA[<b>]]></a>")


@pytest.mark.parametrize(
    "evil", ["<!--" * 25_000, "<" * 100_000, '{"' * 50_000, "[" * 100_000, "<a>" * 30_000, '"\\' * 50_000]
)
def test_hostile_bodies_come_out_whole(evil: str) -> None:
    """Each would take minutes if its length counted twice."""
    _, shown = readable(evil)
    assert "".join(shown.split()) == "".join(evil.split())


def test_bodies_are_found_by_what_they_may_be_called() -> None:
    found = bodies_of({"Request Body": '{"a": 1}', "responseBody": "<f><c>7</c></f>", "errors": []})
    assert [(one.title, one.form) for one in found] == [("Request body", "JSON"), ("Response body", "XML")]
    assert bodies_of({"response": {"a": "ö"}})[0].text == '{\n  "a": "ö"\n}'
    assert (bodies_of(["request_body"]), bodies_of({"request_body": None})) == ([], [])
    assert bodies_of({"response_body": "x" * 300_000})[0].is_cut


def test_a_tree_has_bounds() -> None:
    def count(node: Node) -> int:
        return 1 + sum(count(one) for one in node.children)

    assert count(tree_of({str(one): [one, [one]] for one in range(100_000)})) <= NODES + 5
    deep: object = "end"
    for _ in range(250):
        deep = [deep]
    assert count(tree_of(deep)) < 40
    assert tree_of({"a": None, "b": True, "c": 1.5}).text == "3 fields"


# --- tables ---


def test_csv_holds_no_formula_and_keeps_numbers(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The same bytes from a page and from a command."""
    values = [
        '=HYPERLINK("x")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", " =1",
        "-5", "+5.5", "plain", 'a"b,c\nd', "-1,5e3", "|x", "%18",
    ]  # fmt: skip
    rows = [{"value": one, "number": -5, "float": -0.5, "json": Json('{"a": 1}'), "none": None} for one in values]
    text = csv_text(list(rows[0]), rows)
    write_rows(list(rows[0]), rows)
    assert capsysbinary.readouterr().out.decode() == text
    read = list(csv.DictReader(io.StringIO(text)))
    assert [row["value"] for row in read] == [
        "'=HYPERLINK(\"x\")", "'+1+1", "'-2+3", "'@SUM(A1)", "'\t=1", "' =1",
        "-5", "+5.5", "plain", 'a"b,c\nd', "-1,5e3", "|x", "%18",
    ]  # fmt: skip
    assert {(row["number"], row["float"], row["json"], row["none"]) for row in read} == {("-5", "-0.5", '{"a": 1}', "")}


def test_json_keeps_every_digit_and_the_time() -> None:
    text = json_bytes([{"at": NOW, "big": Json("12345678901234567890.10")}]).decode()
    assert text == '[{"at":"2026-03-01T12:00:00+00:00","big":12345678901234567890.10}]'
    assert json.loads(text)


# --- what was asked ---


def test_searches_in_words() -> None:
    assert criteria_of('sku=A-1 message="two words" =a=b plain "one two"') == [
        Criterion("sku", "A-1"), Criterion("message", "two words"), Criterion(None, "a=b"),
        Criterion(None, "plain"), Criterion(None, "one two"),
    ]  # fmt: skip
    for one in (Criterion("a", "b c"), Criterion(None, "x=y"), Criterion(None, "x"), Criterion("a", "")):
        assert criteria_of(word_of(one)) == [one]


@pytest.mark.parametrize(
    "query",
    ["since=tomorrow", "until=2026-13-01", "since=99999999y", "shortest=-1", "shortest=1e9", "behind=1", "status=well",
     "until=2026-01-01&since=2026-01-02", "until=8d&since=7d",
     f"by={'x' * 1001}", "q=%00", "behind=2026-01-01%2000:00:00%2B00~99999999999999999999"],
)  # fmt: skip
def test_wrong_filters_are_named(query: str) -> None:
    def read() -> None:
        one = asked(query)
        one.period()
        one.seconds("shortest")
        one.place()
        one.word("status", ("failed",))

    with pytest.raises(WrongQuestion, match=rf"^{query.partition('=')[0]}"):
        read()


def test_what_a_form_shows_again_says_what_is_wrong() -> None:
    def read(text: str = "quick") -> float:
        return asked(f"shortest={text}").seconds("shortest") or 0.0

    instead, wrong = attempt(read, 1.0, ("shortest",))
    assert wrong is not None
    assert (instead, wrong.field) == (1.0, "shortest")
    assert attempt(lambda: read("2m"), 1.0, ("shortest",)) == (120.0, None)
    with pytest.raises(WrongQuestion):
        attempt(read, 1.0, ())


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [("2026-02-01", "2026-02-01", "2026-02-01T00:00:00+00:00", "2026-02-02T00:00:00+00:00"),
     ("2026-02-01T10:00:00.5+03:00", "today", "2026-02-01T07:00:00.500000+00:00", "2026-03-02T00:00:00+00:00"),
     ("7d", "12h", "", ""), ("all", "", "", ""), ("soon", "27.11.2026", "", "")],
)  # fmt: skip
def test_moments_of_a_form_are_told_with_their_zone(since: str, until: str, first: str, last: str) -> None:
    one = asked(urlencode({"since": since, "until": until}))
    assert (one.exact("since"), one.exact("until")) == (first, last)


@pytest.mark.parametrize(
    ("text", "better"),
    [("sku = X", "sku=X"), ("sku:X", "sku=X"), ("sku :  X size= 7", "sku=X size=7"),
     ("status : failed", "status=failed"), ('sku = "two words"', 'sku="two words"'), ("sku=X", ""), ("sku=A:B", ""),
     ("it was: X", ""), ("created: X", ""), ('"sku = X"', ""), ("sku =", "")],
)  # fmt: skip
def test_almost_a_field_and_its_value(text: str, better: str) -> None:
    assert meant(text, ["sku", "size"]) == better


def test_links_keep_the_filters() -> None:
    one = asked("status=failed&by=a%26b&behind=x&format=csv")
    assert one.url() == "/flows/1?status=failed&by=a%26b"
    assert one.url(status=None, since="7d") == "/flows/1?by=a%26b&since=7d"
    assert asked("since=2026-02-01&until=2026-02-01").period() == (
        datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)
    )  # fmt: skip
