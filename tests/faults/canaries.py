"""Twelve secrets that nobody may ever see, and the search for them in whatever the suite makes.

The suite's clients, servers and databases use them as their real secrets. Each is looked for as it is, and as base64
and hexadecimal digits, for a header or a dump may spell it so.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import sql

PASSWORD = "kanarya-1-parola p&ss'w\"rd%"  # of the Integrator's account
FIXED_TOKEN = "kanarya-2-fixed-token"
ISSUED_TOKEN = "kanarya-3-issued-token"  # a part of every token that the login gives
DATABASE = "kanarya-4-database"  # in database.url
EMBEDDED = "kanarya-5-owner"  # of the embedded Postgres: random, see `also`
PROXY = "kanarya-6-proxy"  # in an integrator's proxy
WEB_TOKEN = "kanarya-7-web-token-0123456789"
COOKIE = "kanarya-8-cookie"  # that the Integrator sets
HEADER = "kanarya-9-header"  # in a header of its answers
ALERT = "kanarya-10-alert"  # in the address of a chat
SECRET_FILE = "kanarya-11-file"  # in a file that password_file names
VARIABLE = "kanarya-12-variable"  # in an environment variable

ALL = {
    "password": PASSWORD,
    "fixed token": FIXED_TOKEN,
    "issued token": ISSUED_TOKEN,
    "database password": DATABASE,
    "embedded owner's password": EMBEDDED,
    "proxy password": PROXY,
    "web token": WEB_TOKEN,
    "cookie": COOKIE,
    "header": HEADER,
    "alert address": ALERT,
    "secret file": SECRET_FILE,
    "variable": VARIABLE,
}


@lru_cache(maxsize=64)
def spellings(secret: str) -> tuple[bytes, ...]:
    """What a secret looks like: the word that no quoting changes, its base64 at any place of a text, its hex."""
    word = secret.split(" ", maxsplit=1)[0].encode()
    encoded = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + word)
        # The first and last digits also hold bits of what stands beside the word.
        encoded.append(text[4 if before else 0 : len(text) - 4])
    return (word, *encoded, word.hex().encode())


def found(content: bytes | str, also: Iterable[str] = ()) -> list[str]:
    """The names of the canaries that content shows; `also`: secrets that were made up while the test ran."""
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    secrets = {**ALL, **{f"secret {secret[:3]}…": secret for secret in also}}
    return [name for name, secret in secrets.items() if any(one in data for one in spellings(secret))]


def stored(database: str) -> Iterator[tuple[str, str]]:
    """Every row of every table of a database's archive and of its views, as text, with the table's name."""
    with psycopg.connect(database, autocommit=True) as connection:
        tables: list[tuple[Any, ...]] = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('archive', 'public')"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table)))
            for (text,) in rows:
                yield f"{schema}.{table}", text
