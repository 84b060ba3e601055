"""Single values: what a setting's text means, or a ValueError that says what to write instead.

No message repeats the value: the one who reports it knows whether it may be shown.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote_to_bytes, urlencode, urlsplit
from zoneinfo import ZoneInfo

from archiver import redact

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
_DURATION = re.compile(r"(\d{1,12})\s?([smhdy])", re.ASCII)
_LONGEST = timedelta(days=365 * 100)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duration(text: object) -> timedelta:
    """`90s`, `5m`, `2h`, `30d`, `2y` (a year is 365 days)."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        if re.fullmatch(r"\d+", str(text).strip(), re.ASCII):
            raise ValueError("a duration needs a unit; write it as 90s, 5m, 2h, 30d or 2y")
        raise ValueError("is no duration; write a whole number and a unit, as in 90s, 5m, 2h, 30d or 2y")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise ValueError("is longer than 100 years; write at most 100y, or for keep: forever")
    return timedelta(seconds=seconds)


def some_time(text: object) -> timedelta:
    """A duration that is not zero."""
    value = duration(text)
    if not value:
        raise ValueError("must be longer than zero; write at least 1s")
    return value


def keeping(text: object) -> timedelta | None:
    """How long to keep: a duration, or `forever`, which is None."""
    return None if str(text).strip() == "forever" else some_time(text)


def staleness(text: object) -> timedelta | None:
    """A duration, or `auto`, which is None."""
    return None if str(text).strip() == "auto" else some_time(text)


def learnt_or_off(text: object) -> timedelta | Literal["auto", "off"]:
    """A duration, `auto` or `off`."""
    word = str(text).strip()
    return "auto" if word == "auto" else "off" if word == "off" else some_time(text)


_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s?%", re.ASCII)


def share(text: object) -> float | Literal["auto", "off"]:
    """A share such as `5%`, `auto` or `off`."""
    word = str(text).strip()
    if word == "auto" or isinstance(text, float):
        return text if isinstance(text, float) else "auto"
    if word == "off":
        return "off"
    match = _SHARE.fullmatch(word)
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError("is no share; write 5%, auto or off")
    return float(match[1]) / 100


def hours(text: object) -> tuple[time, time]:
    """`22:00-07:00`: from then until then, perhaps over midnight."""
    if isinstance(text, tuple):
        return text
    try:
        begin, end = (time.fromisoformat(part.strip()) for part in str(text).split("-"))
    except ValueError:
        raise ValueError("are no hours; write them as 22:00-07:00") from None
    if begin == end or begin.tzinfo or end.tzinfo:
        raise ValueError("must begin and end at different times; write them as 22:00-07:00")
    return begin, end


_CHANNEL = re.compile(r"[a-zA-Z][a-zA-Z0-9.+-]{1,30}://\S+", re.ASCII)


def channel(text: object) -> str:
    """The address of a channel, as Apprise writes it. What it may hold, Apprise knows; `archiver check` asks it."""
    value = str(text).strip()
    if not value.isprintable() or _CHANNEL.match(value) is None:
        raise ValueError("is no address of a channel; write it as Apprise does: mailto://…, slack://…, json://…")
    return value


def secret_web_url(text: object) -> str:
    """An http(s) URL, whatever stands in it."""
    value = str(text).strip()
    _split(value)
    return value


def moment(text: object) -> datetime:
    """A date (its midnight in UTC), or a time with or without an offset (without: UTC)."""
    try:
        value = datetime.fromisoformat(str(text).strip())
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no date; write it as 2020-01-01 or 2020-01-01T12:00:00+03:00") from None
    if value < _EPOCH:
        raise ValueError("lies before 1970, when no log was written; write 1970-01-01 for everything")
    return value


def word(text: object) -> str:
    """A name or an id: one line of printable characters, without space around it."""
    if not isinstance(text, str):
        raise ValueError("must be text; write it in quotes")  # noqa: TRY004  pydantic collects ValueErrors
    value = text.strip()
    if not value or not value.isprintable() or len(value) > 200:
        raise ValueError("must be 1 to 200 printable characters")
    return value


def redaction(text: object) -> str:
    """The name of a field, or a path to it that begins with $."""
    value = word(text)
    redact.rule(value)
    return value


def token(text: object) -> str:
    """A secret that travels in a header: it must not be able to end one."""
    value = str(text)
    if value.lower().startswith("bearer "):
        raise ValueError("must be the token alone; leave 'Bearer' out")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be printable ASCII without spaces")
    return value


_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def web_token(text: object) -> str:
    """A token of the web page: itself, or `sha256:` and the digest of it in hex, so that no file has to hold it."""
    value = token(text)
    if not value:
        raise ValueError("must not be empty")
    if value.lower().startswith("sha256:"):
        value = value.lower()
        if _DIGEST.fullmatch(value) is None:
            raise ValueError("must be 64 hex digits behind sha256:; write it as printf %s TOKEN | sha256sum tells")
    return value


def web_url(text: object) -> str:
    """An http(s) URL with a host and perhaps a path, nothing else; the slash at its end is cut off."""
    value = str(text).strip()
    parts = _split(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold credentials; give username and password, or token, as keys of their own")
    if parts.query or parts.fragment or value.endswith(("?", "#")):
        raise ValueError("must end with its path; leave out ? and #")
    return value.rstrip("/")


def proxy(text: object) -> str:
    """The word `environment`, or an http(s) URL."""
    value = str(text).strip()
    if value != "environment":
        _split(value)
    return value


def _split(value: str) -> SplitResult:
    unusable = ValueError("is no usable URL; write it as https://host:port")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise unusable from None
    if not usable or not value.isprintable() or " " in value:
        raise unusable
    return parts


def listen(text: object) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 host in brackets. Port 0 takes a free one."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):(\d{1,5})", str(text).strip(), re.ASCII)
    if match is None or int(match[2]) > 65_535:
        raise ValueError("is no address to listen on; write it as 127.0.0.1:8080 or [::1]:8080")
    return match[1].strip("[]"), int(match[2])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def timezone(text: object) -> str:
    """The name of a time zone in the IANA database."""
    value = str(text).strip()
    try:
        return ZoneInfo(value).key
    except (ValueError, KeyError, OSError):
        raise ValueError("is no time zone; write a name such as UTC or Europe/Istanbul") from None


_SCHEME = re.compile(r"(?:postgresql|postgres|postgresql\+psycopg)://", re.ASCII)


def libpq_form(url: object) -> str:
    """A database URL as libpq reads it, from any of the spellings that people have at hand."""
    value = str(url).strip()
    match = _SCHEME.match(value)
    if match is None:
        raise ValueError("is no Postgres URL; write it as postgresql://user:password@host:5432/database")
    if not value.isprintable() or " " in value:
        raise ValueError("holds a space or a control character; write it percent-encoded (a space is %20)")
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ValueError("holds a % that is no percent-encoding; write % as %25")
    head, _, query = value[match.end() :].partition("?")
    account, at, place = head.rpartition("@")
    if "@" in query and not account:
        raise ValueError("has a ? before its @; write a ? in the password as %3F")
    who = ":".join(map(_encoded, account.split(":", 1)))
    return f"postgresql://{who}{at}{place}" + (f"?{_parameters(query)}" if query else "")


def _encoded(text: str) -> str:
    """Percent-encoded throughout, so that every reader of a URL takes it for the same: a `/` ends no password."""
    return quote(unquote_to_bytes(text), safe="")


def _parameters(query: str) -> str:
    """The parameters of a database URL: a `+` is a space, of several values a list is made, `ssl` has libpq's name."""
    found: dict[str, list[str]] = {}
    for given in parse_qsl(query, keep_blank_values=True):
        name, value = ("sslmode", "require") if given == ("ssl", "true") else given
        found.setdefault(name, []).append(value)
    return urlencode({name: ",".join(values) for name, values in found.items()}, safe="/,", quote_via=quote)


def located(text: object, folder: Path) -> Path:
    """A path made absolute: `~` is the home folder, a relative one starts at `folder`."""
    try:
        return (folder / Path(str(text)).expanduser()).absolute()
    except RuntimeError:
        raise ValueError("names a home folder that is not known; write the whole path") from None
