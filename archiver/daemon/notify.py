"""Telling systemd how it goes (sd_notify): READY, WATCHDOG, STOPPING. Without systemd, nothing is told."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send a state such as `READY=1`."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(1.0)  # a manager that hangs must not hang us
        try:
            sock.connect(address)
            sock.sendall(state.encode())
        except OSError:
            return  # a manager that does not listen is no reason to stop


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear from the process, halved as its manual advises; None where it does not."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None  # meant for another process of the service
    return int(usec) / 2e6 if usec.isdecimal() and int(usec) > 0 else None
