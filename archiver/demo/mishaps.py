# ruff: noqa: RUF001 - Turkish has a dotless i
"""What goes wrong in the make-believe world: nine kinds of error, in Turkish and English, and the files about them.

| kind | status of the answer | where |
|---|---|---|
| validation | 400, 422 | a line: a field is missing or out of bounds |
| not_found | 404 | a line: no such product, warehouse or customer |
| conflict | 409 | a line: sent twice, or changed meanwhile |
| rate_limit | 429 | a line: the marketplace's quota |
| server_error | 500, 503 | a line: the other side broke |
| auth | 401, 403 | the login step |
| timeout | none, 504 | the reading step |
| connection | none | the reading step |
| parse | 200 | the reading step: the answer is not what it says |
"""

from __future__ import annotations

import base64
import zipfile
from io import BytesIO
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from archiver.demo.listing import Row, render


class Mishap(NamedTuple):
    """One error of the other side; the message may name `{sku}`, `{barcode}` and `{order}`."""

    kind: str
    code: str
    status: int | None  # of the other side's answer; None: there was none
    message: str


LINE_MISHAPS = (
    Mishap("validation", "PRC-1001", 422, "Satış fiyatı liste fiyatından büyük olamaz (SKU: {sku})"),
    Mishap("validation", "VAL-0007", 400, "Zorunlu alan eksik: 'KDV Oranı' — barkod {barcode}"),
    Mishap("validation", "E4220", 422, 'Value "" of field "gender" is not allowed for category Elbise'),
    Mishap("validation", "STK-014", 400, "Stok miktarı negatif olamaz. Ürün: {sku}"),
    Mishap("not_found", "NBM-404", 404, "Nebim V3: {barcode} barkodlu ürün bulunamadı"),
    Mishap("not_found", "MP-404", 404, "Product with merchantSku {sku} does not exist in the catalogue"),
    Mishap("not_found", "LOGO-23", 404, "Cari hesap kartı tanımlı değil (sipariş {order})"),
    Mishap("conflict", "DUP-409", 409, "Bu sipariş numarası daha önce aktarılmış: {order}"),
    Mishap("conflict", "BATCH-409", 409, "Another batch is updating {sku}; resource was modified concurrently"),
    Mishap("rate_limit", "TOO_MANY", 429, "Dakikadaki istek sınırı aşıldı, lütfen 60 saniye sonra tekrar deneyiniz ⏳"),
    Mishap("rate_limit", "RL-50", 429, "Rate limit exceeded: 50 requests per 10 s for seller 108421"),
    Mishap("server_error", "SAP-BAPI", 500, "BAPI_MATERIAL_SAVEDATA: Malzeme {sku} kullanıcı tarafından kilitlenmiş"),
    Mishap("server_error", "MP-500", 500, "Internal Server Error (java.lang.NullPointerException)"),
    Mishap("server_error", "MP-503", 503, "Hizmet geçici olarak kullanılamıyor"),
)
LOGIN_MISHAPS = (
    Mishap("auth", "AUTH-401", 401, "Kullanıcı adı veya parola hatalı"),
    Mishap("auth", "AUTH-403", 403, "API key has expired or is not allowed from this IP address"),
)
READ_MISHAPS = (
    Mishap(
        "timeout", "ETIMEDOUT", None, "Read timed out after 60000 ms: POST https://erp.example.com/IntegratorService"
    ),
    Mishap("timeout", "GW-504", 504, "Zaman aşımı: ERP 60 saniye içinde yanıt vermedi"),
    Mishap("connection", "ECONNREFUSED", None, "Connection refused: erp.example.com/192.0.2.17:1433"),
    Mishap("connection", "NBM-VPN", None, "Nebim sunucusuna bağlanılamadı: VPN tüneli kapalı olabilir"),
    Mishap("parse", "PARSE-1", 200, "Unexpected character '<' at line 1, column 1: JSON bekleniyordu, HTML geldi"),
    Mishap("parse", "PARSE-2", 200, "XML ayrıştırılamadı: 'ürün_adı' öğesi kapatılmamış (satır 482)"),
)


_ONLY = {"PRC-1001": "price", "STK-014": "stock", "LOGO-23": "order", "DUP-409": "order", "E4220": "product"}


def line_mishaps(kind: str) -> tuple[Mishap, ...]:
    """What can go wrong with a line of this kind of flow."""
    return _BY_KIND[kind]


_BY_KIND = {
    kind: tuple(mishap for mishap in LINE_MISHAPS if _ONLY.get(mishap.code, kind) == kind)
    for kind in ("price", "stock", "product", "order")
}


def told(mishap: Mishap, fields: Row) -> str:
    """The mishap's message about a line with these fields."""
    sku, barcode = fields.get("sku", "-"), fields.get("barcode", "-")
    return mishap.message.format(sku=sku, barcode=barcode, order=fields.get("order_number", "-"))


_SYSTEMS = {
    "price": ("Nebim V3", "https://nebim.example.com/IntegratorService/Post", "json"),
    "stock": ("SAP S/4HANA", "https://sap.example.com/sap/bc/srt/rfc/zstock", "xml"),
    "product": ("Logo Tiger", "https://logo.example.com/api/v1/items", "json"),
    "order": ("Logo Tiger", "https://logo.example.com/LObjects/salesOrders", "xml"),
}


def _xml(name: str, value: object) -> str:
    if isinstance(value, dict):
        inside = "".join(_xml(str(key), part) for key, part in value.items())
    elif isinstance(value, list):
        inside = "".join(_xml("item", part) for part in value)
    else:
        inside = escape("" if value is None else str(value))
    return f"<{name}>{inside}</{name}>"


def _request_body(form: str, payload: Row) -> str:
    if form == "xml":
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + _xml("request", payload)
    return render(payload).decode()


def _response_body(form: str, mishap: Mishap | None, message: str) -> str | None:
    if mishap is None:
        return render({"success": True, "status": "OK"}).decode()
    if mishap.status is None:
        return None
    if mishap.kind == "parse":
        return "<!doctype html><html><body><h1>Bakım çalışması</h1></body></html>"
    if form == "xml":
        return _xml("fault", {"code": mishap.code, "reason": message})
    return render({"success": False, "code": mishap.code, "errors": [message]}).decode()


def document(kind: str, row: Row, fields: Row, mishap: Mishap | None) -> dict[str, Any]:
    """A log's file as the Integrator would write it: errors, request and response of one row of this kind of flow."""
    system, url, form = _SYSTEMS[kind]
    message = told(mishap, fields) if mishap else ""
    payload = {name: value for name, value in fields.items() if name != "message"}
    errors = [{"code": mishap.code, "type": mishap.kind, "message": message}] if mishap else []
    return {
        "log_id": row["id"],
        "filename_uuid": row["filename_uuid"],
        "system": system,
        "errors": errors,
        "request": {"method": "POST", "url": url, "headers": {"Content-Type": f"application/{form}; charset=utf-8"}},
        "request_body": _request_body(form, payload or {"since": row["created"], "page": 1}),
        "response_status": mishap.status if mishap else 200,
        "response_body": _response_body(form, mishap, message),
    }


def pack(content: object, name: str = "log.json") -> bytes:
    """Base64 of a zip with one JSON file, the form of a download; bytes and text are taken as the file's content."""
    if isinstance(content, str):
        content = content.encode()
    data = content if isinstance(content, bytes) else render(content)
    buffer = BytesIO()
    entry = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))  # a fixed date: the same bytes every time
    entry.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, data)
    return base64.b64encode(buffer.getvalue())
