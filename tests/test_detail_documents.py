"""Documents: every text that is produced is taken by Postgres's jsonb, exact where it says so."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.detail import Limits, document, unpack
from archiver.detail.document import Projection, project
from tests.examples import examples

LIMITS = Limits()
DIGITS = "1" * 5000

CLEAN = [
    "{}",
    "[]",
    "0",
    "-0.0",
    "null",
    '""',
    '"x"',
    ' \r\n\t{"a" :\t1 } \n',
    '{"price": 12.50, "id": 123456789012345678901234567890, "small": 1e-400, "large": 1e999}',
    DIGITS,
    f"[{DIGITS}, -{DIGITS}.{DIGITS}]",
    "1" * 131_072,
    "0." + "1" * 16_383,
    "1e131071",
    "1e-16383",
    '"\\ud83d\\ude00 \\ufffd \\uffff \U0001f600 \x7f \x85 \u2028"',
    '"\\\\u0000 \\\\ud800 NaN Infinity 1e999999"',
    '{"a": "{\\"a\\": 1, \\"a\\": 2}", "b": "a:b:c \\\\"}',
    '{"id": "3f2e1234-aa1e4444-9e99999"}',
    "[" * 250 + "]" * 250,
    '{"a":' * 250 + "1" + "}" * 250,
    '{"a": "' + "[" * 10_000 + '", "b\\"[[[": "\\\\"}',
    '"' + "x" * 3_000_000 + '"',
]

CHANGED: list[tuple[bytes, str, str]] = [
    (b'\xef\xbb\xbf{"a": 1}', '{"a": 1}', document.BOM),
    ('\ufeff{"a": "ş"}'.encode("utf-16-le"), '{"a": "ş"}', f"{document.BOM}; UTF-16-LE was decoded"),
    ('\ufeff{"a": "ş"}'.encode("utf-16-be"), '{"a": "ş"}', f"{document.BOM}; UTF-16-BE was decoded"),
    ('\ufeff{"a": "ş"}'.encode("utf-32-le"), '{"a": "ş"}', f"{document.BOM}; UTF-32-LE was decoded"),
    ('\ufeff{"a": "ş"}'.encode("utf-32-be"), '{"a": "ş"}', f"{document.BOM}; UTF-32-BE was decoded"),
    ('{"a": "ş"}'.encode("utf-16-le"), '{"a": "ş"}', "UTF-16-LE was decoded"),
    ('{"a": "ş"}'.encode("utf-32-be"), '{"a": "ş"}', "UTF-32-BE was decoded"),
    (b'"\xd8\x00"'.replace(b'"', b'\0"'), '"\ufffd"', f"UTF-16-BE was decoded; {document.REPLACED}"),
    (b'{"a": "\xfe"}', '{"a": "\ufffd"}', document.REPLACED),
    (b'"\xed\xa0\x80"', '"\ufffd\ufffd\ufffd"', document.REPLACED),
    (b'{"a": 1}\0\0', '{"a": 1}', document.PADDED),
    (b'{"a": "x\\u0000y"}', '{"a": "x\\ufffdy"}', document.NUL),
    (b'{"x\\u0000y": 1}', '{"x\\ufffdy": 1}', document.NUL),
    (b'"x\0y"', '"x\\ufffdy"', document.NUL),
    (b'"\\\\\\u0000"', '"\\\\\\ufffd"', document.NUL),
    (b'"\\ud800"', '"\\ufffd"', document.SURROGATE),
    (b'"\\uDFFF\\uD83D\\uDE00"', '"\\ufffd\\uD83D\\uDE00"', document.SURROGATE),
    (b'"\\ud800\\u0041 \\ud800\\ud800\\udc00"', '"\\ufffd\\u0041 \\ufffd\\ud800\\udc00"', document.SURROGATE),
    (b'"a\nb\tc\x1f"', '"a\\u000ab\\u0009c\\u001f"', document.CONTROL),
    (b'"\\\\\n"', '"\\\\\\u000a"', document.CONTROL),
    (b'[NaN, -Infinity, Infinity, "NaN"]', '["NaN", "-Infinity", "Infinity", "NaN"]', document.NOT_A_NUMBER),
    (b"[1e131072]", '["1e131072"]', document.BEYOND),
    (b'{"a": -1E+999999999999}', '{"a": "-1E+999999999999"}', document.BEYOND),
    (b"1e-16384", '"1e-16384"', document.BEYOND),
    (b"0e" + b"9" * 5000, '"0e' + "9" * 5000 + '"', document.BEYOND),
    (b"1" * 131_073, '"' + "1" * 131_073 + '"', document.BEYOND),
    (b"0." + b"1" * 16_384, '"0.' + "1" * 16_384 + '"', document.BEYOND),
    (b'{"a": 1, "a": 2}', '{"a": 1, "a": 2}', document.REPEATED),
    (b'[{"b": {"a": 1, "\\u0061": 2}}]', '[{"b": {"a": 1, "\\u0061": 2}}]', document.REPEATED),
    (b'{"\\u003a": 1, ":": 2}', '{":": 1, ":": 2}', document.REPEATED),
    (b'{"\\u003a": 1, "b": 2, "b": 3}', '{":": 1, "b": 2, "b": 3}', document.REPEATED),
    (b'{"a\\u0000": 1, "a\\ufffd": 2}', '{"a\\ufffd": 1, "a\\ufffd": 2}', f"{document.NUL}; {document.REPEATED}"),
    (
        b'\xef\xbb\xbf{"a": NaN, "a": "\xff\\ud800\\u0000\n", "b": 1e999999}',
        '{"a": "NaN", "a": "\ufffd\\ufffd\\ufffd\\u000a", "b": "1e999999"}',
        "; ".join([
            document.BOM, document.REPLACED,
            *sorted([document.NOT_A_NUMBER, document.SURROGATE, document.NUL, document.CONTROL, document.BEYOND]),
            document.REPEATED,
        ]),
    ),
]  # fmt: skip

WITHOUT = [
    (b"[" * 251 + b"]" * 251, "no document: it is nested deeper than 250 levels"),
    (b'{"a":' * 251 + b"1" + b"}" * 251, "no document: it is nested deeper than 250 levels"),
    (b'["\\\\",' + b"[" * 250 + b"]" * 251, "no document: it is nested deeper than 250 levels"),
    (b"[" * 1_000_000, "no document: it is nested deeper than 250 levels"),
    (b"[" * 10_000_000, "no document: its 10,000,000 bytes are too many to be checked"),
    (b"[" + b"1e131000," * 1000 + b"1]", "no document: its numbers are too long when written out"),
    (b"[" + b"[]," * (8 << 20) + b"1]", "no document: its 25,165,827 bytes are too many to be checked"),
]

NO_JSON = [
    b"{", b"[1,]", b"{'a': 1}", b"nul", b"None", b"NaNa", b"+1", b"01", b".5", b"1.", b"1e", b"0x10", b"--1", b"--NaN",
    b"-", b"1 2", b'"a', b'"\\', b'"\\x41"', b'"\\\n"', b'"\\\0"',
    b'"\\u12"', b'{"a" 1}', b'{"a": }', b"{1: 2}", b"// c\n1", b"]", b"}{",
    b'{"a": 1}\n{"a": 2}', b"\xff", b"\x0b1", "\u00a01".encode(), b"1\0 2", b"[-Infinity -NaN]", b"\\u0000",
    b'"\\u0000', b"1" * 5000 + b"x", b"-1e999999-", b"\xfe\xff\0", b"--1e999999", b"[1e0005,--1]",
    b'"' + b'\\"' * 100_000, b'["\\u0000' + b'\\"' * 100_000,
]  # fmt: skip


@pytest.fixture
def jsonb(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def stored(connection: psycopg.Connection[Any], text: str) -> Any:
    """What Postgres gives back for a document, with exact numbers."""
    row = connection.execute("SELECT (%s::jsonb)::text", (text,)).fetchone()
    assert row is not None
    return exact(row[0])


def exact(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def same(stored: Any, given: Any) -> bool:
    # -0 is 0 in jsonb, and Decimal's comparison says so too.
    return bool(stored == given)


def test_clean_documents_pass_unchanged(jsonb: psycopg.Connection[Any]) -> None:
    for text in CLEAN:
        assert project(text.encode(), LIMITS) == Projection(text), text[:80]
        assert same(stored(jsonb, text), exact(text)), text[:80]


@pytest.mark.parametrize(("content", "text", "changes"), CHANGED)
def test_rows_39_40_41_what_jsonb_cannot_hold_is_changed_and_marked(content: bytes, text: str, changes: str) -> None:
    assert project(content, LIMITS) == Projection(text, tuple(changes.split("; ")))


def test_changed_documents_are_taken(jsonb: psycopg.Connection[Any]) -> None:
    for _, text, _ in CHANGED:
        assert same(stored(jsonb, text), exact(text)), text[:80]


def test_row_40_what_is_changed_would_have_been_refused(jsonb: psycopg.Connection[Any]) -> None:
    refused = {document.NUL, document.SURROGATE, document.CONTROL, document.NOT_A_NUMBER, document.BEYOND}
    for content, _, changes in CHANGED:
        if refused.intersection(changes.split("; ")):
            with pytest.raises((psycopg.DataError, UnicodeError)):
                stored(jsonb, content.decode())


@pytest.mark.parametrize(("content", "reason"), WITHOUT, ids=range(len(WITHOUT)))
def test_rows_40_42_what_is_too_deep_or_too_large_has_no_document(content: bytes, reason: str) -> None:
    assert project(content, LIMITS if len(content) > 20_000 else LIMITS._replace(memory=1 << 20)) == Projection(
        None, (reason,)
    )


def test_a_detail_without_a_document_is_stored_and_says_why() -> None:
    detail = unpack(b"[" * 300 + b"]" * 300)
    assert (detail.outcome, detail.error, detail.document) == ("stored", None, None)
    assert detail.document_changes == "no document: it is nested deeper than 250 levels"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf", b"\0", b"\0\0\0\0", b"\xff\xfe", b"\xff\xfe\r\0"])
def test_an_empty_file_says_so(content: bytes) -> None:
    assert project(content, LIMITS)[::2] == (None, "is empty")


@pytest.mark.parametrize("content", NO_JSON)
def test_what_is_no_json_says_so(content: bytes) -> None:
    started = time.process_time()
    text, _, error = project(content, LIMITS)
    assert text is None
    assert error is not None
    assert error.startswith("is not JSON (")
    assert time.process_time() - started < 5  # hostile texts must not take quadratic time


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=20
)


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 2))
def test_any_json_that_jsonb_holds_is_exact(
    jsonb: psycopg.Connection[Any], value: Any, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    found = project(text.encode(), LIMITS)
    assert found.changes == ()
    assert found.text is not None
    assert exact(found.text) == exact(text)
    assert found.text == text or "\\u003a" in text
    assert same(stored(jsonb, found.text), exact(text))


FRAGMENTS = st.lists(
    st.sampled_from(["1", "-", ".5", "e9", "1e131072", "1e-16384", "0e0", "NaN", "-Infinity", DIGITS, "1e0005", "null"])
    | st.sampled_from(["{", "}", "[", "]", ",", ":", '"', "\\", '"a"', '"a":', '{"a":1}', '{"a":1,"a":2}', "\n", " "])
    | st.sampled_from(["\0", "\\u0000", "\\ud800", "\\udc00", "\\u003a", '\\"', "\\\\", "ş", "\U0001f600"]),
    max_size=12,
)  # fmt: skip


@settings(max_examples=examples(800), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fragments=FRAGMENTS,
    shape=st.sampled_from(["%s", '"%s"', "[%s]", "[[%s],1]", '{"a":%s}', '{"a":"%s","a":1}', '["%s",NaN]']),
)
def test_whatever_comes_out_postgres_takes(jsonb: psycopg.Connection[Any], fragments: list[str], shape: str) -> None:
    content = (shape.replace("%s", ",".join(fragments) if shape.startswith("[") else "".join(fragments))).encode()
    text, changes, error = project(content, LIMITS)
    assert (text is None) == (error is not None or any(change.startswith("no document") for change in changes))
    if text is not None:
        found = stored(jsonb, text)
        assert same(found, exact(text))
        if not changes:  # then it is the same document, and Postgres would have taken it as it was
            assert same(stored(jsonb, content.decode()), found)
            assert repeats_nothing(content.decode())
    else:
        with pytest.raises((psycopg.DataError, UnicodeError)):
            stored(jsonb, content.decode())


def repeats_nothing(text: str) -> bool:
    """Whether no object of the document has a key twice, by a slower way than the one under test."""
    clean = True

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal clean
        clean &= len(dict(items)) == len(items)

    json.loads(text, object_pairs_hook=pairs, parse_int=str)
    return clean


def test_a_clean_megabyte_takes_milliseconds() -> None:
    row = {
        "sku": "ABC-1",
        "price": 12.5,
        "error": "değer çok büyük",
        "id": "3f2e1234-aa1e-4e12-9e12-1234567890ab",
        "items": [1, 2],
    }
    content = orjson.dumps([row] * 9000)
    assert len(content) > 1_000_000
    fastest = 9.0
    for _ in range(5):
        started = time.process_time()
        assert project(content, LIMITS).changes == ()
        fastest = min(fastest, time.process_time() - started)
    assert fastest < 0.2  # about 0.03 s; the machine may be busy


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_row_40_memory_is_bounded() -> None:
    """The largest document of each kind that is checked at all takes little more than the limit beside itself."""
    program = r"""
from archiver.detail import Limits
from archiver.detail.document import _cost, project
def most(): return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
limits = Limits(memory=32 << 20)
for begin, unit, end in (
    ("[", "[],", "1]"), ("[", '{"a":1},', "1]"), ("[", '"a",', "1]"), ("[", "NaN,", "1]"), ("[", '"\\u0000",', "1]"),
    ('["\\u0000', '\\"', '"]'), ('"', "a", '\U0001f600"'),
):
    share = limits.memory / _cost((begin + unit * 1000 + end).encode())
    content = (begin + unit * int(980 * share) + end).encode()
    assert _cost(content) > limits.memory * 0.95, unit
    open("/proc/self/clear_refs", "w").write("5")
    before = most()
    found = project(content, limits)
    assert found.text is not None, unit
    assert most() - before < limits.memory * 4 // 3, (unit, most() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
