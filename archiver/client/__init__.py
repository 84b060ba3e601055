"""The only HTTP towards the Integrator: login, rate, deadlines, retries, pages and downloads.

`requests` says which certificates and proxies hold; its adapters' connections are used directly, for nothing else of
a session is wanted here: no redirect, no cookie, no ~/.netrc. What each room does:

- `api`: `Client`, the calls of the Logs API.
- `login`: the token, renewed when a 401 says so.
- `ahead`: some threads that fetch what is wanted next, and read what came.
- `wire`: one call as several tries: rate, connections, back-off.
- `channel`: one try on one connection, with its deadline (`deadline`) and size cap (`body`).
- `words`: what went wrong, in one line without secrets.
"""

from archiver.client.api import Client, Download
from archiver.client.login import LoginHold
from archiver.client.wire import RequestNote, Share

__all__ = ["Client", "Download", "LoginHold", "RequestNote", "Share"]
