"""An archive whose alerts go to an inbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.alerting import Archive, Inbox, webhook


@pytest.fixture
def hook() -> Iterator[Inbox]:
    with webhook() as inbox:
        yield inbox


@pytest.fixture
def archive(database: str, hook: Inbox) -> Iterator[Archive]:
    archive = Archive(database, hook)
    yield archive
    archive.store.close()
