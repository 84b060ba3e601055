"""Clients that a changed configuration has replaced: closed once the last turn that works with one has ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from archiver.client import Client


class Retiring:
    """Which client each flow under way works with, and which clients are to go. For any thread.

    An Integrator whose old client is still in use is not asked by the new one: it would be asked at twice its rate.
    """

    def __init__(self) -> None:
        self._using: dict[int, Client] = {}  # by flow key
        self._retired: dict[Client, str] = {}  # with the name of its integrator
        self._lock = threading.Lock()

    def __contains__(self, client: Client) -> bool:
        return client in self._retired

    def take(self, key: int, client: Client, integrator: str) -> bool:
        """Whether the flow may work with the client; not while an older one of its integrator is in use."""
        with self._lock:
            if integrator in self._retired.values():
                return False
            self._using[key] = client
            return True

    def give_back(self, key: int) -> None:
        """The flow's turn has ended."""
        with self._lock:
            self._using.pop(key, None)

    def retire(self, clients: Mapping[Client, str]) -> None:
        """Each with the name of its integrator."""
        with self._lock:
            self._retired |= clients

    def let_go(self) -> set[str]:
        """Close those that nobody uses any more; answers the integrators of which one is still in use."""
        with self._lock:
            used = set(self._using.values())
            free = [client for client in self._retired if client not in used]
            for client in free:
                del self._retired[client]
            left = set(self._retired.values())
        for client in free:
            client.close()
        return left

    def close(self) -> None:
        """Cut off those that are still in use."""
        with self._lock:
            clients = list(self._retired)
        for client in clients:
            client.close()
