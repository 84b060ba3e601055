"""Downloads: whatever the answer is, its bytes are kept, nothing is raised, and what went wrong is said."""

from __future__ import annotations

import base64
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.detail import Detail, Limits, contents, unpack
from tests.examples import examples

DOCUMENT = '{"error": "Fiyat güncellenemedi", "status": 400, "price": 12.50}'


def zipped(*files: tuple[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as file:
        warnings.simplefilter("ignore")  # about a name that is there twice
        for name, content in files:
            file.writestr(name, content)
    return buffer.getvalue()


ZIP = zipped(("log.json", DOCUMENT))
BASE64 = base64.b64encode(ZIP)
WRAPPED = base64.encodebytes(ZIP)


def is_whole(detail: Detail, body: bytes) -> bool:
    """What holds for every detail."""
    assert detail.sha256 == sha256(detail.body).hexdigest()
    assert detail.byte_size == len(detail.body)
    assert (detail.error is None) == (detail.outcome == "stored")
    assert detail.document is None or detail.outcome == "stored"
    assert detail.document is not None or detail.document_changes or detail.error
    for text in (detail.document, detail.document_changes, detail.error):
        assert text is None or "\0" not in text.encode("utf-8").decode()  # and no lone surrogate
    return detail.body == body if detail.body_form == "response" else detail.body.startswith(b"PK")


@pytest.mark.parametrize(
    "answer",
    [
        BASE64,
        b'"' + BASE64 + b'"',
        b"'" + BASE64 + b"'",
        b'"' + BASE64,  # the closing quote was cut
        WRAPPED,
        WRAPPED.replace(b"\n", b"\r\n"),
        b'"' + WRAPPED.replace(b"\n", b"\\n") + b'"',
        b'"' + WRAPPED.replace(b"\n", b"\\r\\n") + b'"\n',
        b'"' + BASE64.replace(b"/", b"\\/").replace(b"+", b"\\u002B").replace(b"=", b"\\u003d") + b'"',
        b"\xef\xbb\xbf" + BASE64 + b"\n",
        b" \t\r\n" + BASE64 + b"\v\f ",
        b" ".join(BASE64[i : i + 7] for i in range(0, len(BASE64), 7)),
        BASE64.rstrip(b"="),
        base64.urlsafe_b64encode(ZIP),
        ZIP,
    ],
)
def test_row_38_every_wrapping_of_the_zip_gives_the_same_file(answer: bytes) -> None:
    assert unpack(answer) == Detail(ZIP, "zip", sha256(ZIP).hexdigest(), len(ZIP), DOCUMENT, None, "stored", None)


def test_stored_entries_are_read_too() -> None:
    assert unpack(zipped(("a.json", DOCUMENT), method=zipfile.ZIP_STORED)).document == DOCUMENT


@pytest.mark.parametrize("answer", [DOCUMENT.encode(), b" \n" + DOCUMENT.encode(), b"[]"])
def test_a_plain_json_answer_is_its_own_document(answer: bytes) -> None:
    detail = unpack(answer)
    assert (detail.body, detail.body_form, detail.document) == (answer, "response", answer.decode())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the answer is empty"),
        (b" \r\n", "the answer is empty"),
        (b'""', "the answer is base64, but not of a zip"),
        (b"null", "the answer is base64, but not of a zip"),
        (b"<!doctype html><html>Bad gateway</html>", "the answer is a page of HTML or XML, not a file"),
        (b"Internal server error!", "the answer is no base64"),
        (b"\x00" * 5, "the answer is no base64, or is cut"),
        (b"\xff\xfe\x00", "the answer is no base64"),
        (bytes(range(256)), "the answer is no base64"),
        (b"=" * 8, "the answer is base64, but not of a zip"),
        (BASE64[:-7] + b"=" + BASE64[-7:], "the answer is no base64, or is cut"),
        (BASE64.replace(b"A", b"\xc3\xa4"), "the answer is no base64"),
        (base64.b64encode(b'{"a": 1}'), "the answer is base64, but not of a zip"),
        (base64.b64encode(b"\x1f\x8b\x08" + bytes(20)), "the answer is base64, but not of a zip"),
        (BASE64[: len(BASE64) // 8 * 4 + 1], "the answer is no base64, or is cut"),
        (b'{"error": "cut', "the answer is no zip; the answer is not JSON (unexpected end of data)"),
        (b"{}{}", "the answer is no zip; the answer is not JSON (unexpected content after document)"),
    ],
)
def test_what_is_no_zip_is_kept_as_it_came(answer: bytes, error: str) -> None:
    detail = unpack(answer)
    assert is_whole(detail, answer)
    assert (detail.body, detail.body_form, detail.document, detail.outcome) == (answer, "response", None, "unreadable")
    assert detail.error is not None
    assert detail.error.startswith(error.split(" (", maxsplit=1)[0])


def test_row_24_an_answer_cut_anywhere_is_never_taken_for_whole() -> None:
    for end in range(len(BASE64)):
        detail = unpack(BASE64[:end])
        assert is_whole(detail, BASE64[:end])
        if BASE64[end:].strip(b"="):
            assert detail.outcome == "unreadable", end
    for end in range(len(ZIP)):
        assert unpack(ZIP[:end]).outcome == "unreadable", end


# Zips


def flagged(flag: int) -> bytes:
    """The zip with a flag set in both of its headers."""
    data = bytearray(ZIP)
    for place in (6, data.index(b"PK\x01\x02") + 8):
        data[place : place + 2] = struct.pack("<H", flag)
    return bytes(data)


def changed(offset: int, form: str, value: int, header: bytes = b"PK\x01\x02") -> bytes:
    """The zip with another value in a header."""
    data = bytearray(ZIP)
    struct.pack_into(form, data, data.index(header) + offset, value)
    return bytes(data)


def forged_size(content: bytes, claimed: int) -> bytes:
    """A zip whose headers claim another size, with the checksum of what they claim."""
    data = bytearray(zipped(("bomb.json", content)))
    for header, crc, size in ((b"PK\x03\x04", 14, 22), (b"PK\x01\x02", 16, 24)):
        place = data.index(header)
        struct.pack_into("<I", data, place + crc, zlib.crc32(content[:claimed]))
        struct.pack_into("<I", data, place + size, claimed)
    return bytes(data)


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "no entry": (zipped(), "the zip holds no file"),
    "folders alone": (zipped(("a/", b""), ("a/b/", b"")), "the zip holds no file"),
    "no JSON": (zipped(("log.txt", "plain text")), "'log.txt' is not JSON ("),
    "empty file": (zipped(("log.json", "")), "'log.json' is empty"),
    "blank file": (zipped(("log.json", " \n\t ")), "'log.json' is empty"),
    "cut JSON": (zipped(("log.json", DOCUMENT[:-5])), "'log.json' is not JSON ("),
    "two texts": (zipped(("a", "x"), ("b", "y")), "'a' is not JSON (unexpected character"),
    "encrypted": (flagged(0x1), "'log.json' is encrypted"),
    "strongly encrypted": (flagged(0x41), "'log.json' is encrypted"),
    "patched data": (flagged(0x20), "'log.json' cannot be read (compressed patched data"),
    "bzip2": (zipped(("log.json", DOCUMENT), method=zipfile.ZIP_BZIP2), "'log.json' is compressed by method 12"),
    "lzma": (zipped(("log.json", DOCUMENT), method=zipfile.ZIP_LZMA), "'log.json' is compressed by method 14"),
    "unknown method": (changed(10, "<H", 99), "'log.json' is compressed by method 99"),
    "wrong checksum": (changed(16, "<I", 1), "'log.json' cannot be read (Bad CRC-32"),
    "wrong offset": (changed(42, "<I", 1), "'log.json' cannot be read ("),
    "far offset": (changed(42, "<I", 0x7FFFFFFF), "'log.json' cannot be read ("),
    "other local name": (ZIP.replace(b"log.json", b"lag.json", 1), "'log.json' cannot be read (File name in directory"),
    "newer version": (changed(6, "<H", 99), "the zip cannot be read (zip file version 9.9)"),
    "directory too long": (changed(12, "<I", 0x7FFFFFFF, b"PK\x05\x06"), "the zip cannot be read (Bad offset"),
    "directory elsewhere": (changed(16, "<I", 7, b"PK\x05\x06"), "'log.json' cannot be read ("),
    "size forged small": (forged_size(b'{"a": "%s"}' % (b"x" * 1000), 20), "'bomb.json' is not JSON ("),
    "data scrambled": (ZIP[:50] + bytes(20) + ZIP[70:], "'log.json' cannot be read ("),
    "signature alone": (b"PK\x03\x04", "the zip cannot be read (File is not a zip file)"),
    "signature and noise": (b"PK\x03\x04" + bytes(range(256)) * 9, "the zip cannot be read (File is not a zip file)"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_row_37_a_zip_that_cannot_be_read_is_kept_and_says_why(case: str) -> None:
    data, error = UNREADABLE[case]
    for answer in (data, base64.b64encode(data)):
        detail = unpack(answer)
        assert is_whole(detail, answer)
        assert (detail.body, detail.body_form, detail.outcome, detail.document) == (data, "zip", "unreadable", None)
        assert detail.error is not None
        assert detail.error.startswith(error)


READABLE: dict[str, tuple[bytes, str | None]] = {
    "folder and file": (zipped(("logs/", b""), ("logs/1.json", DOCUMENT)), None),
    "escaping name": (zipped(("../../etc/passwd", DOCUMENT)), None),
    "absolute name": (zipped(("/etc/passwd", DOCUMENT)), None),
    "empty name": (ZIP.replace(b"log.json", b"\0og.json"), None),
    "any extension": (zipped(("log.bin", DOCUMENT)), None),
    "two": (zipped(("a.json", DOCUMENT), ("b.json", "{}")), "the zip also holds 'b.json'"),
    "same name": (zipped(("a.json", DOCUMENT), ("a.json", "{}")), "the zip also holds 'a.json'"),
    "text first": (
        zipped(("a.txt", "hello"), ("b.json", DOCUMENT)),
        "'a.txt' is not JSON (unexpected character: line 1 column 1 (char 0)); the zip also holds 'a.txt'",
    ),
    "many": (
        zipped(("a.json", DOCUMENT), *((f"{n}.json", "1") for n in range(9))),
        "the zip also holds '0.json', '1.json', '2.json', '3.json', '4.json' and 4 more",
    ),
    "odd names": (zipped(("a", DOCUMENT), ("ç\n\x1b[31m", "")), "the zip also holds '\\xe7\\n\\x1b[31m'"),
    "long name": (zipped(("a", DOCUMENT), ("n" * 60_000, "")), f"the zip also holds '{'n' * 77}...'"),
    "comment": (ZIP[:-2] + b"\x05\x00hello", None),
    "noise before": (b"PK\x03\x04" + ZIP, None),
}


@pytest.mark.parametrize("case", READABLE)
def test_row_37_the_first_json_is_the_document_and_the_rest_is_named(case: str) -> None:
    data, changes = READABLE[case]
    detail = unpack(base64.b64encode(data))
    assert is_whole(detail, data)
    assert (detail.outcome, detail.document) == ("stored", DOCUMENT)
    assert (detail.document_changes or "").split(" (")[0] == (changes or "").split(" (")[0]
    assert (detail.document_changes or "").endswith((changes or "").rsplit("; ", maxsplit=1)[-1])


# Bombs


@pytest.mark.parametrize(
    ("data", "limits", "outcome", "error"),
    [
        (zipped(("a", b'"' + b"x" * 9998 + b'"')), Limits(total=10_000), "stored", None),
        (
            zipped(("a", b'"' + b"x" * 9999 + b'"')),
            Limits(total=10_000),
            "too_large",
            "'a' is larger than is looked at",
        ),
        (zipped(("a", b"x" * 6000), ("b", b"x" * 6000)), Limits(total=10_000), "too_large", "'a' is not JSON"),
        (zipped(("a", b" " * (5 << 20))), Limits(), "too_large", "'a' is compressed further than any log"),
        (zipped(("a", b" " * (3 << 20) + b"1")), Limits(), "stored", None),
        (zipped(*((str(n), b"") for n in range(1001))), Limits(), "too_large", "the zip has more than 1,000 entries"),
        (forged_size(b" " * (5 << 20), 2), Limits(), "unreadable", "'bomb.json' is empty"),
        (forged_size(b" " * (5 << 20), 0x7FFFFFFF), Limits(), "too_large", "'bomb.json' is compressed further"),
    ],
)
def test_row_36_bounds(data: bytes, limits: Limits, outcome: str, error: str | None) -> None:
    detail = unpack(data, limits)
    assert is_whole(detail, data)
    assert (detail.body, detail.outcome) == (data, outcome)
    assert (detail.error or "").startswith(error or "")
    assert (detail.error is None) == (error is None)


# Anything at all


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_kept(body: bytes) -> None:
    for answer in (body, base64.b64encode(body), b"PK\x03\x04" + body, base64.b64encode(b"PK\x05\x06" + body)):
        assert is_whole(unpack(answer), answer)


SEEDS = [data for data, _ in (*UNREADABLE.values(), *READABLE.values())]
Mutation = Callable[[bytearray, int, int], None]


@settings(max_examples=examples(600), deadline=None)
@given(
    st.sampled_from([*SEEDS, BASE64, WRAPPED, DOCUMENT.encode()]).filter(lambda seed: len(seed) < 5000),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255), st.sampled_from("sidc")), min_size=1, max_size=8),
)
def test_any_damage_is_survived(seed: bytes, damage: list[tuple[int, int, str]]) -> None:
    data = bytearray(seed)
    for place, value, kind in damage:
        at = place % (len(data) + 1)
        if kind == "s":
            data[at : at + 1] = bytes([value])
        elif kind == "i":
            data[at:at] = bytes([value])
        elif kind == "d":
            del data[at : at + value]
        else:
            data[at:at] = data[: value * 4]
    detail = unpack(bytes(data))
    assert is_whole(detail, bytes(data))
    if detail.document is not None:
        json.loads(detail.document)


def test_the_contents_of_a_kept_file_can_always_be_had() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.json", b'{"a": 1}')
        zipped.writestr("b.txt", b"b" * 1000)
    body = packed.getvalue()
    assert contents(b"as it came", "response") == [b"as it came"]
    assert contents(b"no zip", "zip") == [b"no zip"]
    assert contents(body, "zip") == [b'{"a": 1}', b"b" * 1000]
    assert contents(body, "zip", Limits(total=100)) == [b'{"a": 1}', body]
