"""Dashboards for BI tools, made for the archive at hand: what they show is in `board`, one module for each tool."""

from archiver.bi.catalog import View, views
from archiver.bi.grafana import grafana_dashboard
from archiver.bi.superset import superset_bundle

__all__ = ["View", "grafana_dashboard", "superset_bundle", "views"]
