"""The web page, the replayed Logs API, and what a supervisor asks: health, readiness, metrics.

Handlers are plain functions that run in a few threads, each with a read-only transaction of a few seconds; whatever
comes from outside is bounded before it gets there. `application` is the ASGI app, `serving` puts it on a port.
"""

from archiver.web.app import application
from archiver.web.meters import Meters
from archiver.web.server import Serving, serving

__all__ = ["Meters", "Serving", "application", "serving"]
