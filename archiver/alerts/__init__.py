"""Alerts: what is not well is decided in the database, by one process at a time, and told over the channels.

A round reads the facts, decides with the pure room `signs`, and writes what changed and, in the same transaction, the
message that tells it. Messages are sent afterwards: at least once, to each channel by itself, again where that fails.
"""

from archiver.alerts.channels import Channels, Delivery, beat
from archiver.alerts.rounds import Rounds, settings_of

__all__ = ["Channels", "Delivery", "Rounds", "beat", "settings_of"]
