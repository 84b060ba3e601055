# ruff: noqa: RUF001 - Turkish has a dotless i
"""What the brand sells and who buys it: the fields that lines carry."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from archiver.demo.listing import scatter

_ARTICLES = (
    ("TSH", "Basic Tişört", 34990),
    ("GML", "Keten Gömlek", 89990),
    ("ELB", "Şifon Elbise", 149990),
    ("PNT", "Yüksek Bel Pantolon", 119990),
    ("CKT", "Kapüşonlu Ceket", 199990),
    ("KZK", "Örgü Kazak", 99990),
    ("ETK", "Pileli Etek", 79990),
    ("AYK", "Deri Ayakkabı", 259990),
    ("CNT", "İnce Kayışlı Çanta", 174990),
    ("SRT", "Denim Şort", 64990),
)
_COLOURS = (
    ("SYH", "Siyah"),
    ("BYZ", "Beyaz"),
    ("KRM", "Kırmızı"),
    ("YSL", "Yeşil"),
    ("LCV", "Lacivert"),
    ("GRI", "Açık Gri"),
    ("PMB", "Pembe"),
    ("HRD", "Hardal Sarısı"),
)
_SIZES = ("XS", "S", "M", "L", "XL", "XXL")
_CITIES = ("İstanbul", "Ankara", "İzmir", "Iğdır", "Şanlıurfa", "Muğla", "Çanakkale", "Eskişehir")
_PEOPLE = ("Ayşe Yılmaz", "Mehmet Öztürk", "İrem Çağlar", "Oğuz Şahin", "Işıl Güneş", "Ümit Koç")
_WAREHOUSES = ("MRK-01", "IST-AVM-07", "IZM-03", "DEPO-ŞİŞLİ")

# Seen in real catalogues: quotes, markup, formulas, control characters. Text that a careless reader chokes on.
_ODD_NAMES = (
    'Oversize "Rahat Kalıp" <b>%50 İNDİRİM</b> 🎉',
    "Ömer'in Seçimi'); DROP TABLE product;--",
    '=HYPERLINK("http://example.com";"Şal")',
    "C:\\resim\\yeni\\t-shirt.jpg",
    "Kadın\tBluz\r\n(yeni sezon)",
    "Renkli \x1b[31mKemer\x1b[0m",
    "Çorap \u202eters\u202c 👩‍👩‍👧",
    "Kol Düğmesi\x00 Seti",
)


class Product(NamedTuple):
    """One article in one colour and size; `price` is in kuruş."""

    sku: str
    barcode: str
    name: str
    colour: str
    size: str
    price: int


def _barcode(number: int) -> str:
    """An EAN-13 with Turkey's prefix and its check digit."""
    body = f"869{number % 10**9:09d}"
    digits = [int(digit) for digit in body]
    return f"{body}{-(sum(digits[::2]) + 3 * sum(digits[1::2])) % 10}"


@lru_cache(maxsize=50_000)
def product(seed: int, number: int) -> Product:
    """The world's product of that number."""
    draw = scatter(number + 1, scatter(seed))
    code, article, price = _ARTICLES[draw % len(_ARTICLES)]
    short, colour = _COLOURS[draw // 16 % len(_COLOURS)]
    size = _SIZES[number % len(_SIZES)]
    name = _ODD_NAMES[number // 67 % len(_ODD_NAMES)] if number % 67 == 5 else f"{colour} {article}"
    spread = draw // 2**24 % 12 * 2500
    sku = f"{code}-{1000 + number // 6}-{short}-{size}"
    return Product(sku, _barcode(123450000 + number * 7), name, colour, size, price + spread)


def lira(kurus: int) -> float:
    """Kuruş as the wire shows money: a JSON number in TRY."""
    return kurus / 100


def turkish(kurus: int) -> str:
    """Kuruş as a Turkish reader writes it: 1.299,90 TL."""
    whole = f"{kurus // 100:,}".replace(",", ".")
    return f"{whole},{kurus % 100:02d} TL"


class Line(NamedTuple):
    """What a line is about: a product, a draw of 64 bits, and the run's and the line's number."""

    item: Product
    draw: int
    run: int
    number: int

    @property
    def price(self) -> int:
        """Today's price in kuruş: every dozen runs the brand changes its mind."""
        return self.item.price * (100 - (self.run // 12 + int(self.item.barcode[8:12])) % 5 * 10) // 100

    @property
    def stock(self) -> int:
        """Pieces on hand; zero now and then."""
        return max(0, self.draw // 7 % 140 - 12)

    @property
    def order_number(self) -> str:
        """Unique for a run and a line."""
        return f"DM{2_600_000_000 + self.run * 211 + self.number}"


def _price(line: Line) -> dict[str, Any]:
    return {
        "message": f"Fiyat güncellendi: {line.item.sku} → {turkish(line.price)}",
        "sku": line.item.sku,
        "barcode": line.item.barcode,
        "price": lira(line.price),
        "list_price": lira(line.item.price),
        "currency": "TRY",
        "price_list": "TR-PERAKENDE",
        "is_discounted": line.price < line.item.price,
    }


def _stock(line: Line) -> dict[str, Any]:
    return {
        "message": f"Stok gönderildi: {line.item.sku} = {line.stock} adet",
        "sku": line.item.sku,
        "barcode": line.item.barcode,
        "stock": line.stock,
        "reserved": line.draw // 11 % 4,
        "warehouse": _WAREHOUSES[line.draw // 13 % len(_WAREHOUSES)],
        "in_stock": line.stock > 0,
        "channel": ("web", "trendyol", "hepsiburada", "n11")[line.draw // 17 % 4],
    }


def _product(line: Line) -> dict[str, Any]:
    return {
        "message": f"Product {line.item.sku} was sent",
        "sku": line.item.sku,
        "barcode": line.item.barcode,
        "name": line.item.name,
        "is_active": line.draw % 19 != 0,
        "attributes": {"renk": line.item.colour, "beden": line.item.size, "kdv": 10, "koleksiyon": "İlkbahar/Yaz 2026"},
    }


def _order(line: Line) -> dict[str, Any]:
    pieces = 1 + line.draw % 3
    return {
        "message": f"Sipariş {line.order_number} ERP'ye aktarıldı ✅",
        "order_number": line.order_number,
        "sku": line.item.sku,
        "total": lira(line.price * pieces),
        "currency": "TRY",
        "customer": {"name": _PEOPLE[line.draw // 5 % len(_PEOPLE)], "city": _CITIES[line.draw // 3 % len(_CITIES)]},
        "items": [{"sku": line.item.sku, "quantity": pieces, "unit_price": lira(line.price)}],
        "is_gift": line.draw % 11 == 0,
        "cargo_code": None if line.draw % 4 else f"YK{line.draw % 10**10:010d}",
    }


FIELDS: dict[str, Callable[[Line], dict[str, Any]]] = {
    "price": _price,
    "stock": _stock,
    "product": _product,
    "order": _order,
}
"""The message of a line that went well, and its search fields, by kind of flow."""
