"""Ten classes of errors: what the caller of the other side would do about it."""

from __future__ import annotations

import re
from functools import cache

CLASSES_VERSION = 2  # of the rules below; a template is enough to apply them anew

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
        |permission denied|login failed|wrong password|credentials|yetki|oturum|token\w* (?:suresi|gecersiz)
        |(?:parola|sifre)\w* (?:hatali|yanlis)|kimlik dogrula|erisim (?:engel|izni)
        """,
    ),
    (
        "timeout",
        r"""
        \b(?:408|504)\b|time(?:d)?[ -]?out|etimedout|deadline exceeded|zaman asim|suresi (?:dol|asil)
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
        |sertifika|\bvpn\b|unknown ?host|\btns:|no listener|max retries exceeded|connect error|disconnect
        |name resolution|could not resolve|eai_again|error_communication|communication (?:failure|error|link)
        |not reached|host closed|ulasilam|erisilem
        """,
    ),
    (
        "parse",
        r"""
        \bpars(?:e|er|ing)\b|parse ?error|ayristir|unexpected (?:character|token|end|eof)|malformed|well.?formed
        |(?:invalid|not valid|gecersiz) (?:json|xml|csv|utf)|json ?decode|deseriali[sz]|unmarshal|cozumlenemedi
        |syntax error|(?:json|xml) bekleniyor|parseexception|in prolog|invalid literal
        """,
    ),
    (
        "server_error",
        r"""
        \b50[0-35-9]\b|internal server error|ic sunucu hatasi|bapi_|bad gateway|service unavailable
        |(?:key|type|attribute|index)error\b|index out of|indexoutof|object reference not set
        """,
    ),
    (
        "not_found",
        r"""
        \b4(?:04|10)\b|not.?found|does not exist|doesn't exist|no such|no longer exists|bulunamadi|bulunmuyor
        |bulunmamakta|tanimli degil|mevcut degil|kayitli degil|tanimsiz
        |unknown (?:product|sku|item|order|customer)|could not be found|no (?:match|mapping)\b|acilmamis
        |tanimlanmamis|eslestirilmemis|(?:kaydi|karsiligi|eslesmesi) yok|not (?:maintained|registered|mapped|configured)
        """,
    ),
    (
        "conflict",
        r"""
        \b4(?:09|12|23)\b|duplicate|already (?:exist|been|process|sent|used)|conflict|concurren|deadlock
        |unique constraint|being (?:updated|modified)|is (?:updating|locked)|zaten|daha once|mukerrer|cakis
        |kilit|es zamanli|\blocked\b|(?:used|edited|held) by another|baska (?:bir )?\w+ (?:ait|tarafindan)
        |onay (?:surec|bekl)|iptal edil|cancell?ed|(?:donem|period)\b.{0,20}(?:kapali|not open|closed)|pasif|passive
        |not active|inactive|insufficient|yetersiz|yeterli \w+ (?:yok|degil)|out of stock
        """,
    ),
    (
        "validation",
        r"""
        \b4(?:00|22)\b|validation|invalid|required|missing|must (?:not )?(?:be|have|contain)
        |can(?:not| ?not|'t) be|not allowed|out of (?:range|bounds)|too (?:long|short|large|small)|exceeds
        |greater than|less than|negative|unsupported|zorunlu|eksik|gecersiz|hatali|yanlis|olamaz|olmali
        |\bbos\b|uzunlug|karakter|negatif|dogrulama|uyumsuz|uyusmu|eslesmiyor|desteklenm|izin verilm|olmamali
        |(?:secil|giril|belirtil|doldurul)(?:me|ma)mis|not (?:valid|supported)|truncated|mismatch|does ?n[o']t match
        |empty|should (?:not )?be|expected
        """,
    ),
    (
        "server_error",
        r"""
        \b5\d\d\b|server error|null ?pointer|exception|out of memory|sunucu hatasi|sistem hatasi|beklenmeyen
        |beklenmedik|unexpected error|kullanilamiyor|unavailable|bakim|hizmet disi|unhandled|fatal|mesgul|\bbusy\b
        |durdurul|gecici olarak|try again later|daha sonra (?:tekrar |yeniden )?den
        """,
    ),
)


@cache
def _compiled() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The rules, compiled when the first error is looked at: most commands never do, and all would pay for it."""
    return tuple((name, re.compile("".join(map(str.strip, words.split("\n"))), re.ASCII)) for name, words in _RULES)


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
    for name, words in _compiled():
        if words.search(template):
            return name
    return "other"
