"""A dashboard for Grafana's PostgreSQL data source, as JSON for its "Import dashboard".

Made from Grafana's documentation, without a Grafana at hand; its SQL is run by the tests.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

from archiver.bi import board
from archiver.bi.board import HISTORY, Panel

_SOURCE = {"type": "grafana-postgresql-datasource", "uid": "${DS_ARCHIVE}"}
_KINDS = {"number": "stat", "table": "table", "bars": "timeseries", "lines": "timeseries"}
_FLOWS = "flow_name IN (${flow:sqlstring})"


def grafana_dashboard(address: str, fields: tuple[str, ...], source: str | None = None) -> dict[str, Any]:
    """The dashboard. It holds neither address nor password: `address` only names it apart from other archives'.

    With `source`, the uid of a data source, it is one to be provisioned: Grafana asks for nothing.
    """
    document = _importable(address, fields)
    if source is None:
        return document
    del document["__inputs"]
    return cast("dict[str, Any]", _with_source(document, source))


def _with_source(value: object, uid: str) -> object:
    if value == _SOURCE:
        return _SOURCE | {"uid": uid}
    if isinstance(value, dict):
        return {key: _with_source(one, uid) for key, one in value.items()}
    return [_with_source(one, uid) for one in value] if isinstance(value, list) else value


def _importable(address: str, fields: tuple[str, ...]) -> dict[str, Any]:
    place = address.split("@", 1)[1].split("?", maxsplit=1)[0]
    return {
        "__inputs": [
            {
                "name": "DS_ARCHIVE",
                "label": "Akinon archive",
                "description": "A PostgreSQL data source that logs in as a reader (archiver bi grant).",
                "type": "datasource",
                "pluginId": "grafana-postgresql-datasource",
                "pluginName": "PostgreSQL",
            }
        ],
        "uid": uuid5(NAMESPACE_URL, f"akinon-archive/{place}").hex,
        "title": f"{board.TITLE} ({place.rsplit('/', 1)[1]})",
        "tags": ["akinon"],
        "timezone": "browser",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "5m",
        "time": {"from": "now-30d", "to": "now"},
        "templating": {"list": [_flows(), *(_field(number, name) for number, name in enumerate(fields))]},
        "panels": list(_panels(fields)),
    }


def _flows() -> dict[str, Any]:
    return {
        "name": "flow",
        "label": "Flow",
        "type": "query",
        "datasource": _SOURCE,
        "query": "SELECT flow_name FROM reporting.flow ORDER BY 1",
        "refresh": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _field(number: int, name: str) -> dict[str, Any]:
    return {
        "name": f"field_{number}",
        "label": name,
        "type": "textbox",
        "query": "",
        "current": {"text": "", "value": ""},
    }


def _panels(fields: tuple[str, ...]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    top = 0
    for row in board.ROWS:
        left = 0
        high = max(panel.high for panel in row) // 36
        for panel in row:
            wide = panel.wide * 2  # Grafana's grid has 24 columns
            place = {"x": left, "y": top, "w": wide, "h": high}
            shown.append(_panel(panel, fields, len(shown) + 1) | {"gridPos": place})
            left += wide
        top += high
    return shown


def _panel(panel: Panel, fields: tuple[str, ...], number: int) -> dict[str, Any]:
    series = panel.time is not None and panel.kind in ("bars", "lines")
    target = {
        "refId": "A",
        "datasource": _SOURCE,
        "editorMode": "code",
        "rawQuery": True,
        "format": "time_series" if series else "table",
        "rawSql": _series_sql(panel) if series else _sql(panel, fields),
    }
    options: dict[str, Any] = {}
    if panel.kind == "number":
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "none"}
    bars = {"drawStyle": "bars", "fillOpacity": 80, "stacking": {"mode": "normal", "group": "A"}}
    return {
        "id": number,
        "type": _KINDS[panel.kind],
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "targets": [target],
        "options": options,
        "fieldConfig": {
            "defaults": {
                "custom": bars if panel.kind == "bars" else {},
                "unit": "s" if panel.key == "durations" else "none",
            },
            "overrides": [],
        },
    }


def _series_sql(panel: Panel) -> str:
    measures = [board.measure(panel.view, name) for name in panel.measures]
    by = f", {panel.by} AS metric" if panel.by else ""
    values = ", ".join(f'{one.sql} AS "{one.label}"' for one in measures)
    return (
        f"SELECT {panel.time}::timestamp AT TIME ZONE 'UTC' AS time{by}, {values}\n"
        f"FROM reporting.{panel.view}\n"
        f"WHERE {panel.time} BETWEEN ($__timeFrom())::date AND ($__timeTo())::date AND {_FLOWS}\n"
        f"GROUP BY {'1, 2' if panel.by else '1'} ORDER BY 1"
    )


def _sql(panel: Panel, fields: tuple[str, ...]) -> str:
    where = [_FLOWS]
    if panel.kind == "number":
        one = board.measure(panel.view, panel.measures[0])
        return f'SELECT {one.sql} AS "{one.label}" FROM reporting.{panel.view} WHERE {where[0]}'
    if panel.time is not None:
        where.append(f"$__timeFilter({panel.time})")
    source = f"reporting.{panel.view}"
    columns = list(panel.columns)
    if panel.view == HISTORY:
        source = f"({board.history_sql(fields)}) history"
        names = [board.identifier(field) for field in fields]
        columns[1:1] = map(board.identifier, board.own(fields, panel.columns))
        # An empty box asks for nothing in particular.
        where += [f"(${{field_{n}:sqlstring}} IN ('', {name}::text))" for n, name in enumerate(names)]
    return (
        f"SELECT {', '.join(columns)}\nFROM {source}\nWHERE {' AND '.join(where)}\n"
        f"ORDER BY {panel.order} DESC NULLS LAST LIMIT 200"
    )
