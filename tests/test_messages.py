# ruff: noqa: RUF001 - this is about letters that look alike
"""Error messages: what varies goes out, what it says stays, and every machine agrees on the fingerprint."""

from __future__ import annotations

import json
import time
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.demo.mishaps import LINE_MISHAPS, LOGIN_MISHAPS, READ_MISHAPS, Mishap, document, told
from archiver.logs import parse_line
from archiver.messages import CLASSES, message_in_document, message_of, recognise, sample
from archiver.messages.template import LONGEST, template
from tests.examples import examples

MISHAPS = (*LINE_MISHAPS, *LOGIN_MISHAPS, *READ_MISHAPS)
ITEM = {"sku": "TSH-1042-BLK-XL", "barcode": "8691234500077", "order_number": "DM2600000211"}
OTHER = {"sku": "GML-7-KRM-S", "barcode": "8690000000012", "order_number": "DM2611111111"}


@pytest.mark.parametrize("mishap", MISHAPS, ids=lambda mishap: mishap.code)
def test_what_goes_wrong_in_the_demo_is_one_kind_each_of_its_class(mishap: Mishap) -> None:
    kind = recognise(told(mishap, ITEM))
    assert kind == recognise(told(mishap, OTHER))
    assert kind.error_class == mishap.kind
    assert sum(recognise(told(other, ITEM)).fingerprint == kind.fingerprint for other in MISHAPS) == 1


# Fingerprints that are in people's databases: who changes one of these raises VERSION.
GOLDEN = [
    ("", 8269299265366409813, "", "other"),
    ("Ürün DM-1042 bulunamadı", -4171445408221508957, "urun # bulunamadi", "not_found"),
    (
        "HATA: BAĞLANTI KURULAMADI (10.0.0.7:1433)",
        1947653907035836748,
        "hata: baglanti kurulamadi (#)",
        "connection",
    ),
    ("HTTP 404 for /products/881", -6444800398390560058, "http 404 for #", "not_found"),
    ("HTTP 503 for /products/881", -8152895324816329923, "http 503 for #", "server_error"),
    ("İşlem zaman aşımına uğradı: 30 sn", 6837629512470611186, "islem zaman asimina ugradi: # sn", "timeout"),
    ("price: must be greater than 0", 6818126825919392648, "price: must be greater than #", "validation"),
    (
        "ORA-00001: unique constraint (NEBIM.PK_STOK) violated",
        659366944381486304,
        "#: unique constraint (nebim.pk_stok) violated",
        "conflict",
    ),
    (
        "2024-05-01T10:22:33.123+03:00 ERROR Sipariş No: AB12 zaten aktarılmış",
        -5711986684933578771,
        "# error siparis no: # zaten aktarilmis",
        "conflict",
    ),
    (
        "Müşteri ayse.yilmaz@example.com için yetki yok",
        -642368709134373343,
        "musteri # icin yetki yok",
        "auth",
    ),
    ("Товар 12 не найден", 7437058385001336021, "товар # не найден", "other"),
    ("商品 42 が見つかりません", 4528634585980435896, "商品 # が見つかりません", "other"),
    ("error: exit status 5000", 771603087815338205, "error: exit status #", "other"),
    ("Geçersiz JSON", 7136339982212757294, "gecersiz json", "parse"),
    ("Kargo firması seçilmemiş", -902965132771951929, "kargo firmasi secilmemis", "validation"),
]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden[2] or "empty")
def test_the_fingerprint_of_a_message_never_changes(golden: tuple[str, int, str, str]) -> None:
    assert (golden[0], *recognise(golden[0])) == golden


# As ERPs, marketplaces, databases and HTTP libraries say it.
CLASSIFIED = [
    ("Barkod: 8691234567890 - Bu barkod başka bir ürüne ait, tekrar kullanılamaz", "conflict"),
    ("Ürün onay sürecinde olduğu için güncellenemez", "conflict"),
    ("Marka bulunamadı: 1234", "not_found"),
    ("Kategori özelliği zorunludur: Beden (id: 338)", "validation"),
    ("Attribute value is not valid. attributeId: 47", "validation"),
    ("Stok adedi 20000'den büyük olamaz", "validation"),
    ("Sistem şu anda meşgul, lütfen daha sonra tekrar deneyin", "server_error"),
    ("Hizmet geçici olarak durdurulmuştur", "server_error"),
    ("Fatura numarası daha önce kullanılmış. Fatura No: ABC2024000001234", "conflict"),
    ("Malzeme 4711 üretim yeri 1000 için açılmamış", "not_found"),
    ("Material 4711 not maintained in plant 1000", "not_found"),
    ("Sipariş 4500012345 kilitli (kullanıcı BATCH01)", "conflict"),
    ("Object requested is currently locked by user SAPUSER", "conflict"),
    ("Posting period 003 2024 is not open", "conflict"),
    ("Dönem kapalı: 2024/03", "conflict"),
    ("RFC_ERROR_COMMUNICATION: CPIC-CALL: ThSAPOCMINIT", "connection"),
    ("Login failed for user 'nebim_int'.", "auth"),
    ("Cannot insert duplicate key row in object 'dbo.trStock' with unique index 'UX_1'.", "conflict"),
    ("String or binary data would be truncated in table 'dbo.cdItem', column 'ItemDescription'.", "validation"),
    (
        "Timeout expired. The timeout period elapsed prior to completion of the operation.",
        "timeout",
    ),
    ("Transaction (Process ID 61) was deadlocked on lock resources with another process", "conflict"),
    ("ORA-12541: TNS:no listener", "connection"),
    ("java.net.SocketTimeoutException: Read timed out", "timeout"),
    ("java.net.UnknownHostException: api.example.com", "connection"),
    ("javax.net.ssl.SSLHandshakeException: PKIX path building failed", "connection"),
    ("org.xml.sax.SAXParseException; lineNumber: 1; columnNumber: 1; Content is not allowed in prolog.", "parse"),
    ("product with this sku already exists.", "conflict"),
    ("Authentication credentials were not provided.", "auth"),
    ("Product is not active", "conflict"),
    ("HTTPSConnectionPool(host='sap.example.com', port=443): Max retries exceeded with url: /x", "connection"),
    ("upstream connect error or disconnect/reset before headers", "connection"),
    ("Too many requests, please try again in 42 seconds", "rate_limit"),
    ("Müşteri adresi boş", "validation"),
    ("İl/ilçe eşleşmesi bulunamadı: KADIKÖY", "not_found"),
    ("Token süresi dolmuş", "auth"),
    ("Oturum süreniz dolmuş", "auth"),
    ("Yetkisiz erişim", "auth"),
    ("Sipariş iptal edilmiş, aktarılamaz", "conflict"),
    ("Ödeme tutarı sipariş tutarı ile uyuşmuyor (199,90 <> 189,90)", "validation"),
    ("Beklenmeyen bir hata oluştu. Hata kodu: 5f3a9c", "server_error"),
    ("NullReferenceException: Object reference not set to an instance of an object.", "server_error"),
    ("KeyError: 'price'", "server_error"),
    ("list index out of range", "server_error"),
    ("Depoda yeterli stok yok", "conflict"),
    ("Insufficient stock for SKU A1", "conflict"),
    ("Kayıt başka bir kullanıcı tarafından kullanılıyor", "conflict"),
    ("Kargo firması seçilmemiş", "validation"),
    ("Sunucuya ulaşılamıyor", "connection"),
]


@pytest.mark.parametrize(("message", "error_class"), CLASSIFIED, ids=lambda text: text[:30])
def test_what_others_say_is_of_its_class(message: str, error_class: str) -> None:
    assert recognise(message).error_class == error_class


SAME = [
    ("Ürün DM-1042 bulunamadı", "ürün 7 bulunamadı", "ÜRÜN X9 BULUNAMADI", "Urun  SKU-1, SKU-2 bulunamadi."),
    ("Order 5'e ait fatura yok", "Order 16'ya ait fatura yok", "order A1 ait fatura yok"),
    ("Field 'gender' is missing", 'Field "colour code" is missing', "Field “gender” is missing"),
    ("at 2024-05-01 10:22", "at 01.05.2024 10:22:59", "at 2024-05-01T10:22:33.1Z", "at 3"),
    ("GET https://a.example.com/x?y=1 failed", "GET http://b.example.com failed"),
    ("SKU: ABC kayıtlı değil", "sku=DEF kayıtlı değil", "SKU:12 kayıtlı değil"),
    ("Gönderilemedi: ABC-RED-XL", "Gönderilemedi: 12", "Gönderilemedi: 1.299,90", "Gönderilemedi: %18"),
    ("id 550e8400-e29b-41d4-a716-446655440000 gone", "id 1 gone", "id 0xdeadbeef00 gone"),
    ("boom\n\tat com.erp.A.b(A.java:1)", "boom\n\tat com.erp.B.c(B.java:2)\n\tat x", "boom"),
    ("'Ürün bulunamadı'", "Ürün bulunamadı", "Ürün  bulunamadı!"),
    ("AĞ HATASI", "ağ hatası", "Ağ Hatası", "Ag hatasi", unicodedata.normalize("NFD", "Ağ Hatası")),
    ("DİKKAT: İĞNE", "dikkat: iğne", "DIKKAT: IGNE", "dıkkat: ığne"),
    ("\ufeffboom\u200b", "BOOM", "\u202eboom\u202c", "ｂｏｏｍ"),
]


@pytest.mark.parametrize("messages", SAME, ids=lambda messages: messages[0].strip()[:20])
def test_messages_that_say_the_same_are_one_kind(messages: tuple[str, ...]) -> None:
    assert {recognise(one).fingerprint for one in messages} == {recognise(messages[0]).fingerprint}, [
        template(one) for one in messages
    ]


DIFFERENT = [
    ("HTTP 404", "HTTP 500"),
    ("status code: 401", "status code: 403"),
    ("503 Service Unavailable", "502 Bad Gateway"),
    ("Ürün bulunamadı", "Müşteri bulunamadı"),
    ("doesn't work", "didn't work"),
    ("Stok ERP'ye aktarılamadı", "Stok web'e aktarılamadı"),
    ("", "boom"),
    ("Товар не найден", "Заказ не найден"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_messages_that_say_something_else_are_not(one: str, other: str) -> None:
    assert recognise(one).fingerprint != recognise(other).fingerprint


words = st.text("abcçdefgğhıijklmnoöprsştuüvyzABCİIŞ", min_size=1, max_size=9)
values = st.one_of(
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.dates().map(str),
    st.uuids().map(str),
    st.from_regex(r"[A-Z]{2,4}-[0-9]{1,5}(-[A-Z]{1,3})?", fullmatch=True),
    st.text("abc ĞıİŞ,.", max_size=9).map(lambda text: f'"{text}"'),
)


@settings(max_examples=examples(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(words, min_size=1, max_size=4), values, values, st.lists(words, max_size=3))
def test_whatever_the_value_the_kind_is_the_same(before: list[str], one: str, other: str, after: list[str]) -> None:
    def say(value: str) -> str:
        return " ".join([*before, "no", value, *after])

    assert recognise(say(one)) == recognise(say(other))
    assert recognise(say(one)).template.count("#") == 1


@settings(max_examples=examples(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_any_text_has_a_kind(text: str) -> None:
    kind = recognise(text)
    assert kind == recognise(text)
    assert len(kind.template) <= LONGEST
    assert kind.error_class in CLASSES
    assert -(2**63) <= kind.fingerprint < 2**63
    kind.template.encode()  # no lone surrogate
    assert "\0" not in kind.template
    assert not any(char.isdigit() for char in kind.template if char.isascii()) or "4" in text or "5" in text
    kept = sample(text)
    assert len(kept) <= 1000
    assert "\0" not in kept.encode().decode()


PIECES = ['"', "'", "' ", '"\\', 'a"', "a", "a-", "A-", "A-B-C", "1", "1:", "1,", "#", "# ", "#'a", "sku:", "code 40"]
PIECES += [
    "@",
    "a@a.",
    "://",
    "http://",
    "http 4",
    "\\",
    "\n at ",
    "ı",
    "İ",
    "\ud800",
    "\U000e0041",
    "\u0301",
    "{",
    "[1,",
]


@pytest.mark.parametrize("piece", PIECES)
def test_hostile_messages_are_quick(piece: str) -> None:
    template(piece)
    took = []
    for _ in range(3):  # the machine may be busy
        began = time.process_time()
        template(piece * 100_000)
        took.append(time.process_time() - began)
    assert min(took) < 0.1


def line(**fields: object) -> str | None:
    parsed = parse_line({"id": 1, "created": "2024-01-01T00:00:00+00:00", **fields})
    return message_of(parsed.fields, parsed.rest)


def test_the_message_of_a_line_is_the_first_of_the_known_fields() -> None:
    assert line(message="a", error="b") == "a"
    assert line(message=None, error="b", detail="c") == "b"
    assert line(message=" \n", description="d") == "d"
    assert line(message="x" * 500) == "x" * 500, "too long to be indexed, and a message all the same"
    assert line(sku="A") is None
    assert line(message="a\0b") == "a\0b", "what jsonb refuses is a message, too"
    assert line(message="\ud800") == "\ud800"
    assert line(error={"code": 7, "message": "inner"}) == "inner"
    assert line(error={"code": 7}) == '{"code": 7}'
    assert line(message='{"success": false, "errors": ["Barkod hatalı"]}') == "Barkod hatalı"
    assert line(message='{"a": 1}') == '{"a": 1}'
    assert line(message=["", {"reason": "why"}]) == "why"
    assert line(message=42) == "42"
    assert message_of('{"price": 1e999, "message": "a"}', None) == "a"
    assert message_of(None, None) is None


@pytest.mark.parametrize("mishap", MISHAPS, ids=lambda mishap: mishap.code)
def test_the_files_of_the_demo_tell_what_went_wrong(mishap: Mishap) -> None:
    content = document("price", {"id": 1, "filename_uuid": "u", "created": ""}, dict(ITEM), mishap)
    assert message_in_document(json.dumps(content)) == told(mishap, ITEM)
    well = document("price", {"id": 1, "filename_uuid": "u", "created": ""}, dict(ITEM), None)
    assert message_in_document(json.dumps(well)) is None


def test_a_file_of_any_shape_has_a_message_or_none() -> None:
    assert message_in_document(None) is None
    assert message_in_document('["message", {"a": 1}, {"message": "x"}]') == "x"
    assert message_in_document('"message"') is None
    assert message_in_document('{"errors": {"sku": ["wrong"]}}') == '{"sku": ["wrong"]}'
    assert message_in_document('{"errors": [{"field": "sku"}]}') == '[{"field": "sku"}]'
    assert message_in_document('{"errors": [{}, ""], "error": "e"}') == "e"
    assert message_in_document('{"message":' * 5000 + "1" + "}" * 5000) is None
    assert message_in_document('{"errors": [], "message": null, "error": {"detail": "d"}}') == "d"


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["errors", "message", "detail", "x"]), inner),
    max_leaves=20,
)


@settings(max_examples=examples(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents)
def test_any_document_is_taken(value: object) -> None:
    found = message_in_document(json.dumps(value))
    assert found is None or found.strip()


@pytest.mark.parametrize("text", ["{no json}", '["\ud800"]', "[1, 2"])
def test_what_only_looks_like_json_is_the_message_itself(text: str) -> None:
    assert message_of(json.dumps({"message": text})) == text
