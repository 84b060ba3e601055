"""Apache Superset's import bundle (assets of version 1.0.0): a database, its datasets, charts, and a dashboard.

Tried with Superset 6.1 (`make real`). The password is not in it: Superset asks for it on import.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import yaml

from archiver.bi import board
from archiver.bi.board import HISTORY, Panel
from archiver.bi.catalog import Column, View

MASK = "XXXXXXXXXX"  # Superset's own mark of a password that it has to ask for
# "Last month" would end at midnight, and "now" on a column of days does too: today is what people look for.
_PERIOD = 'DATEADD(DATETIME("today"), -30, day) : DATEADD(DATETIME("today"), 1, day)'
_RECENT = 'DATEADD(DATETIME("today"), -7, day) : DATEADD(DATETIME("today"), 1, day)'
_WIDE = {"run_id": 280}  # pixels, so that it stays on one line
_WIDE_FIELD = 170
_COLORS = {"succeeded_runs": "#5AC189", "failed_runs": "#E04355", "empty_runs": "#B2B2B2"}
_FOLDER = "akinon_archive"


def superset_bundle(address: str, views: Mapping[str, View], fields: tuple[str, ...], now: datetime) -> bytes:
    """The bundle as a zip. `address`: the reader's, without a password, `fields`: those that lines are searched by.

    The same address gives the same identifiers: a second import replaces what the first one made.
    """
    bundle = _Bundle(address, views, fields)
    files = {
        "metadata.yaml": {"version": "1.0.0", "type": "Dashboard", "timestamp": now.isoformat()},
        f"databases/{_FOLDER}.yaml": bundle.database(),
        **{f"datasets/{_FOLDER}/{name}.yaml": bundle.dataset(name) for name in board.MEASURES},
        **{f"charts/{panel.key}.yaml": bundle.chart(panel) for panel in board.panels()},
        f"dashboards/{_FOLDER}.yaml": bundle.dashboard(),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, document in files.items():
            text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
            archive.writestr(zipfile.ZipInfo(f"{_FOLDER}/{name}", now.timetuple()[:6]), text)
    return stream.getvalue()


class _Bundle:
    def __init__(self, address: str, views: Mapping[str, View], fields: tuple[str, ...]) -> None:
        self._address = address
        self._views = views
        self._fields = fields
        # Two archives in one Superset stay apart: identifiers come from the place, not from who reads it.
        self._place = address.split("@", 1)[1]
        self._name = self._place.split("?")[0].rsplit("/", 1)[1]
        self._numbers = {panel.key: number for number, panel in enumerate(board.panels(), 1)}

    def _id(self, *what: str) -> str:
        return str(uuid5(NAMESPACE_URL, "/".join(("akinon-archive", self._place, *what))))

    def database(self) -> dict[str, Any]:
        user, rest = self._address.removeprefix("postgresql://").split("@", 1)
        return {
            "database_name": f"Akinon archive ({self._name})",
            "sqlalchemy_uri": f"postgresql+psycopg2://{user}:{MASK}@{rest}",
            "cache_timeout": 60,
            "expose_in_sqllab": True,
            "allow_run_async": False,
            "allow_ctas": False,
            "allow_cvas": False,
            "allow_dml": False,
            "allow_csv_upload": False,
            "extra": {"schemas_allowed_for_file_upload": [], "allows_virtual_table_explore": True},
            "uuid": self._id("database"),
            "version": "1.0.0",
        }

    def dataset(self, name: str) -> dict[str, Any]:
        virtual = name == HISTORY
        view = self._history() if virtual else self._views[name]
        times = [column.name for column in view.columns if _is_time(column)]
        return {
            "table_name": name,
            "main_dttm_col": "day" if name == "run_daily" else times[0] if times else None,
            "description": view.comment,
            "schema": "reporting",
            "sql": board.history_sql(self._fields) if virtual else None,
            "filter_select_enabled": True,
            "uuid": self._id("dataset", name),
            "metrics": [
                {"metric_name": one.name, "verbose_name": one.label, "expression": one.sql, "d3format": ",.0f"}
                for one in board.MEASURES[name]
            ],
            "columns": [_column(column) for column in view.columns],
            "version": "1.0.0",
            "database_uuid": self._id("database"),
        }

    def _history(self) -> View:
        line = self._views["line"]
        columns = [column for column in line.columns if column.name in board.HISTORY_COLUMNS]
        columns += [Column(field, "text", f"The line's field {field}.") for field in board.own(self._fields)]
        return View(HISTORY, "Line logs with the fields that people search by.", tuple(columns))

    def chart(self, panel: Panel) -> dict[str, Any]:
        form = self._form(panel)
        return {
            "slice_name": panel.title,
            "description": panel.text or None,
            "viz_type": form["viz_type"],
            "params": form,
            "query_context": json.dumps(_query_context(form)),
            "cache_timeout": None,
            "uuid": self._id("chart", panel.key),
            "version": "1.0.0",
            "dataset_uuid": self._id("dataset", panel.view),
        }

    def _form(self, panel: Panel) -> dict[str, Any]:
        common: dict[str, Any] = {"adhoc_filters": [_period(panel.time)] if panel.time else [], "extra_form_data": {}}
        if panel.kind == "number":
            return common | _number_form(panel)
        if panel.kind == "table":
            return common | self._table_form(panel)
        return common | _series_form(panel)

    def _table_form(self, panel: Panel) -> dict[str, Any]:
        first = board.own(self._fields, panel.columns) if panel.view == HISTORY else []
        return {
            "viz_type": "table",
            "query_mode": "raw",
            "all_columns": [panel.columns[0], *first, *panel.columns[1:]],
            "order_by_cols": [json.dumps([panel.order, False])],
            "row_limit": 200,
            "server_page_length": 25,
            "page_length": 0,
            "table_timestamp_format": "%Y-%m-%d %H:%M",
            "include_search": False,
            "show_cell_bars": False,
            "conditional_formatting": _formatting(panel),
            "column_config": {
                **{one: {"d3NumberFormat": ",.0f"} for one in panel.columns if one.endswith("_seconds")},
                **{one: {"columnWidth": wide} for one, wide in _WIDE.items() if one in panel.columns},
                **{one: {"columnWidth": _WIDE_FIELD} for one in first},
            },
        }

    def dashboard(self) -> dict[str, Any]:
        return {
            "dashboard_title": f"{board.TITLE} ({self._name})",
            "description": "Flow health, failures, durations, kinds of errors, and the history of an item.",
            "css": "",
            "slug": None,
            "uuid": self._id("dashboard"),
            "position": self._position(),
            "metadata": {
                "native_filter_configuration": self._filters(),
                "refresh_frequency": 0,
                "cross_filters_enabled": True,
                "color_scheme": "supersetColors",
                "label_colors": _COLORS,
            },
            "version": "1.0.0",
            "published": True,
        }

    def _position(self) -> dict[str, Any]:
        rows = [f"ROW-{number}" for number in range(len(board.ROWS))]
        position: dict[str, Any] = {
            "DASHBOARD_VERSION_KEY": "v2",
            "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
            "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": rows, "parents": ["ROOT_ID"]},
            "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": f"{board.TITLE} ({self._name})"}},
        }
        for row, shown in zip(rows, board.ROWS, strict=True):
            position[row] = {
                "type": "ROW",
                "id": row,
                "children": [f"CHART-{panel.key}" for panel in shown],
                "parents": ["ROOT_ID", "GRID_ID"],
                "meta": {"background": "BACKGROUND_TRANSPARENT"},
            }
            for panel in shown:
                position[f"CHART-{panel.key}"] = {
                    "type": "CHART",
                    "id": f"CHART-{panel.key}",
                    "children": [],
                    "parents": ["ROOT_ID", "GRID_ID", row],
                    "meta": {
                        "chartId": self._numbers[panel.key],
                        "uuid": self._id("chart", panel.key),
                        "sliceName": panel.title,
                        "width": panel.wide,
                        "height": panel.high // 8,
                    },
                }
        return position

    def _filters(self) -> list[dict[str, Any]]:
        """Time, flow, and each field that people search by. What shows the present does not heed the time."""
        now = [self._numbers[panel.key] for panel in board.panels() if panel.time is None]
        others = [self._numbers[panel.key] for panel in board.panels() if panel.view != HISTORY]
        period = {"extraFormData": {"time_range": _PERIOD}, "filterState": {"value": _PERIOD}}
        # Only the values of the last week are offered: all of them would take a look at every line.
        recent = {"time_range": _RECENT, "granularity_sqla": "created_at"}
        return [
            _filter("period", "Period", "filter_time", targets=[{}], excluded=now, mask=period),
            self._choice("flow", "Flow", view="flow_health", column="flow_name", excluded=[], more={}),
            *(
                self._choice(f"field-{number}", field, view=HISTORY, column=field, excluded=others, more=recent)
                for number, field in enumerate(self._fields)
            ),
        ]

    def _choice(
        self, key: str, name: str, *, view: str, column: str, excluded: list[int], more: Mapping[str, Any]
    ) -> dict[str, Any]:
        target = {"datasetUuid": self._id("dataset", view), "column": {"name": column}}
        return {**_filter(key, name, "filter_select", targets=[target], excluded=excluded, mask={}), **more}


def _filter(
    key: str, name: str, kind: str, *, targets: list[dict[str, Any]], excluded: list[int], mask: Mapping[str, Any]
) -> dict[str, Any]:
    select = {"multiSelect": True, "searchAllOptions": True, "enableEmptyFilter": False, "inverseSelection": False}
    return {
        "id": f"NATIVE_FILTER-{key}",
        "type": "NATIVE_FILTER",
        "name": name,
        "filterType": kind,
        "description": "",
        "targets": targets,
        "controlValues": select if kind == "filter_select" else {"enableEmptyFilter": False},
        "defaultDataMask": mask or {"extraFormData": {}, "filterState": {}},
        "cascadeParentIds": [],
        "scope": {"rootPath": ["ROOT_ID"], "excluded": excluded},
    }


def _query_context(form: Mapping[str, Any]) -> dict[str, Any]:
    """What Superset's API runs for a saved chart; the browser makes its own from the form."""
    columns: list[Any] = list(form.get("all_columns", form.get("groupby", [])))
    if "x_axis" in form:
        axis = {"columnType": "BASE_AXIS", "timeGrain": "P1D", "expressionType": "SQL"}
        columns.insert(0, axis | {"sqlExpression": form["x_axis"], "label": form["x_axis"]})
    metrics = form.get("metrics", [form["metric"]] if "metric" in form else None)
    query = {
        "columns": columns,
        "metrics": metrics,
        "filters": [
            {"col": one["subject"], "op": one["operator"], "val": one["comparator"]} for one in form["adhoc_filters"]
        ],
        "orderby": [json.loads(one) for one in form.get("order_by_cols", [])],
        "row_limit": form.get("row_limit"),
        "extras": {"having": "", "where": ""},
    }
    return {
        "datasource": {"id": 0, "type": "table"},
        "force": False,
        "queries": [query],
        "form_data": dict(form),
        "result_format": "json",
        "result_type": "full",
    }


def _number_form(panel: Panel) -> dict[str, Any]:
    return {
        "viz_type": "big_number_total",
        "metric": panel.measures[0],
        "y_axis_format": ",.0f",
        "header_font_size": 0.5,
    }


def _series_form(panel: Panel) -> dict[str, Any]:
    return {
        "viz_type": f"echarts_timeseries_{'bar' if panel.kind == 'bars' else 'line'}",
        "x_axis": panel.time,
        "time_grain_sqla": "P1D",
        "x_axis_sort_asc": True,
        "metrics": list(panel.measures),
        "groupby": [panel.by] if panel.by else [],
        "order_desc": True,
        "row_limit": 10_000,
        "truncate_metric": True,
        "show_legend": True,
        "legendType": "scroll",
        "legendOrientation": "top",
        "rich_tooltip": True,
        "x_axis_time_format": "%d %b",
        "y_axis_format": "SMART_NUMBER",
        "tooltipTimeFormat": "%Y-%m-%d",
        **({"stack": "Stack"} if panel.kind == "bars" else {"markerEnabled": True, "markerSize": 4}),
    }


def _period(column: str) -> dict[str, Any]:
    return {
        "clause": "WHERE",
        "expressionType": "SIMPLE",
        "operator": "TEMPORAL_RANGE",
        "subject": column,
        "comparator": _PERIOD,
    }


def _formatting(panel: Panel) -> list[dict[str, Any]]:
    wrong = ("failed_24h", "failed_7d", "failures_in_a_row")
    return [
        {"column": column, "operator": ">", "targetValue": 0, "colorScheme": "#E04355"}
        for column in panel.columns
        if column in wrong
    ]


def _is_time(column: Column) -> bool:
    return column.type.startswith(("timestamp", "date"))


def _column(column: Column) -> dict[str, Any]:
    return {
        "column_name": column.name,
        "verbose_name": column.name.replace("_", " ").capitalize(),
        "is_dttm": _is_time(column),
        "is_active": True,
        "type": column.type.upper(),
        "groupby": True,
        "filterable": True,
        "expression": None,
        "description": column.comment,
    }
