"""Ten classes of errors: what the caller of the other side would do about it."""

from __future__ import annotations

import re

# In this order: the first that fits. A class that says what to do comes before one that only says that it broke. The
# words are those of templates: folded, in lower case, without numbers but for HTTP statuses.
_RULES = (
    (
        "rate_limit",
        r"""
        \b429\b|rate.?limit|too many requests|throttl|quota|kota\b|(?:istek|cagri|request) (?:sinir|limit)
        |limit asil|cok fazla istek
        """,
    ),
    (
        "auth",
        r"""
        \b40[13]\b|unauthori[sz]ed|unauthenticated|forbidden|authenticat|api.?key|access.?token
        |token (?:has |is )?(?:expired|invalid)
        |(?:expired|invalid|missing) (?:access )?(?:token|credential|password|session)|access denied
        |permission denied|login failed|wrong password|credentials|yetki|oturum
        |(?:parola|sifre)\w* (?:hatali|yanlis)|kimlik dogrula|erisim (?:engel|izni)
        """,
    ),
    (
        "timeout",
        r"""
        \b(?:408|504)\b|time(?:d)?[ -]?out|etimedout|deadline exceeded|zaman asim|suresi (?:doldu|asildi)
        |sure asimi|yanit vermedi
        """,
    ),
    (
        "connection",
        r"""
        \becon[a-z]+|enotfound|ehostunreach|epipe|connection (?:refused|reset|closed|aborted|error|failed|lost)
        |(?:could not|cannot|unable to|failed to) connect|baglanilamadi|baglanamadi
        |baglanti\w* (?:kurulam|hata|kop|red|kesil|sagla)|unknown host|name or service not known|getaddrinfo
        |no route|unreachable|network error|ag hatasi|broken pipe|socket|handshake|\bssl\b|\btls\b|certificate
        |sertifika|\bvpn\b
        """,
    ),
    (
        "parse",
        r"""
        \bpars(?:e|er|ing)\b|parse ?error|ayristir|unexpected (?:character|token|end|eof)|malformed|well.?formed
        |(?:invalid|not valid|gecersiz) (?:json|xml|csv|utf)|json ?decode|deseriali[sz]|unmarshal|cozumlenemedi
        |syntax error|(?:json|xml) bekleniyor
        """,
    ),
    (
        "server_error",
        r"""
        \b50[0-35-9]\b|internal server error|ic sunucu hatasi|bapi_|bad gateway|service unavailable
        """,
    ),
    (
        "not_found",
        r"""
        \b4(?:04|10)\b|not.?found|does not exist|doesn't exist|no such|no longer exists|bulunamadi|bulunmuyor
        |bulunmamakta|tanimli degil|mevcut degil|kayitli degil|tanimsiz
        |unknown (?:product|sku|item|order|customer)
        """,
    ),
    (
        "conflict",
        r"""
        \b4(?:09|12|23)\b|duplicate|already (?:exist|been|process|sent|used)|conflict|concurren|deadlock
        |unique constraint|being (?:updated|modified)|is (?:updating|locked)|zaten|daha once|mukerrer|cakis
        |kilit|es zamanli
        """,
    ),
    (
        "validation",
        r"""
        \b4(?:00|22)\b|validation|invalid|required|missing|must (?:not )?(?:be|have|contain)
        |can(?:not| ?not|'t) be|not allowed|out of (?:range|bounds)|too (?:long|short|large|small)|exceeds
        |greater than|less than|negative|unsupported|zorunlu|eksik|gecersiz|hatali|yanlis|olamaz|olmali
        |bos (?:bir|birak)|uzunlug|karakter|negatif|dogrulama|uyumsuz|desteklenm|izin verilm
        """,
    ),
    (
        "server_error",
        r"""
        \b5\d\d\b|server error|null ?pointer|exception|out of memory|sunucu hatasi|sistem hatasi|beklenmeyen
        |beklenmedik|unexpected error|kullanilamiyor|unavailable|bakim|hizmet disi|unhandled|fatal
        """,
    ),
)
_COMPILED = tuple((name, re.compile("".join(map(str.strip, words.split("\n"))), re.ASCII)) for name, words in _RULES)

CLASSES = (
    "validation",
    "not_found",
    "conflict",
    "auth",
    "rate_limit",
    "timeout",
    "connection",
    "server_error",
    "parse",
    "other",
)


def class_of(template: str) -> str:
    """The class of a template's errors; `other` where no word of it is known."""
    for name, words in _COMPILED:
        if words.search(template):
            return name
    return "other"
