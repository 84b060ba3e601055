"""The replayed Logs API, described in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from archiver.logs import FIELDS

Schema = dict[str, Any]


def document(base_url: str) -> Schema:
    """The whole description, for a server that is found at `base_url`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Logs of the Integrator, from the archive",
            "version": "1",
            "description": "The Integrator's Logs API, answered from the archive: also what it has long forgotten.",
        },
        "servers": [{"url": base_url or "/"}],
        "security": [{"token": []}],
        "paths": {
            "/logs": {"get": _list()},
            "/logs/download": {"get": _download()},
            "/api/nifi/login": {"post": _login()},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Page": _page(), "Log": _log(), "Problem": _problem()},
        },
    }


def _query(name: str, schema: Schema, words: str, *, required: bool = False) -> Schema:
    return {"name": name, "in": "query", "required": required, "description": words, "schema": schema}


def _text() -> Schema:
    return {"type": "string", "minLength": 1, "pattern": "^[^\\u0000]+$"}


def _named() -> list[Schema]:
    """How both calls name a flow."""
    return [
        _query("flowId", _text(), "The flow.", required=True),
        _query("projectid", _text(), "The project; may be spelled projectId.", required=True),
        _query("integrator", _text(), "Which integrator, where several have this flow."),
    ]


def _list() -> Schema:
    numbers = {"type": "integer", "minimum": 1}
    parameters = [
        *_named(),
        _query("log_type", {"type": "integer", "enum": [1, 2, 3]}, "1 main, 2 sub, 3 line logs.", required=True),
        _query("limit", {**numbers, "maximum": 100, "default": 25}, "Logs of a page."),
        _query("page", {**numbers, "maximum": 10**9, "default": 1}, "Which page."),
        _query("filename_uuid", _text(), "A main log, by its execution id."),
        _query("original_filename_uuid", _text(), "Sub or line logs of a main log, by its execution id."),
        _query("search_field.1", _text(), "A field of line logs; search_field.2 and so on narrow it further."),
        _query("search_value.1", {"type": "string", "pattern": "^[^\\u0000]*$"}, "The value of that field."),
    ]
    page = {"application/json": {"schema": {"$ref": "#/components/schemas/Page"}}}
    return {
        "operationId": "listLogs",
        "summary": "Logs of a flow, newest first",
        "parameters": parameters,
        "responses": {"200": {"description": "A page of logs.", "content": page}, **_problems("400", "401", "404")},
    }


def _download() -> Schema:
    parameters = [
        _query("id", {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "The log.", required=True),
        *_named(),
        _query("projectslug", _text(), "The project's slug.", required=True),
    ]
    body = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "downloadLog",
        "summary": "The file of a log",
        "parameters": parameters,
        "responses": {
            "200": {"description": "Base64 of a zip with one JSON file.", "content": body},
            **_problems("400", "401", "404"),
        },
    }


def _login() -> Schema:
    some = {"type": "string", "minLength": 1}
    fields = {"username": some, "password": some}
    form: Schema = {"type": "object", "required": ["username", "password"], "properties": fields}
    body = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": "logIn",
        "summary": "A short-lived token, for any user name with a configured token as its password",
        "security": [],
        "requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}},
        "responses": {
            "200": {"description": "The token, and nothing else.", "content": body},
            "400": {"description": "Refused.", "content": body},
            **_problems("413", "429"),
        },
    }


_WORDS = {
    "400": "A parameter is missing or incorrect.",
    "401": "The token is missing, incorrect, or has expired.",
    "404": "Nothing was found.",
    "413": "The form is too long.",
    "429": "Too many wrong passwords; see Retry-After.",
    "503": "The archive is busy, or the question too broad; see Retry-After.",
}


def _problems(*statuses: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _WORDS[status], "content": content} for status in (*statuses, "503")}


def _page() -> Schema:
    return {
        "type": "object",
        "required": ["count", "limit", "page", "previous", "next", "results"],
        "properties": {
            "count": {"type": "integer", "description": "Logs of all pages."},
            "limit": {"type": "integer"},
            "page": {"type": "integer"},
            "previous": {"type": "string"},
            "next": {"type": "string"},
            "results": {"type": "array", "items": {"$ref": "#/components/schemas/Log"}},
        },
    }


def _log() -> Schema:
    """Whatever the Integrator once said: no type of any field is promised."""
    return {"type": "object", "properties": {name: {} for name in (*FIELDS, "sub_flows")}, "additionalProperties": True}


def _problem() -> Schema:
    return {
        "type": "object",
        "required": ["status", "message"],
        "properties": {"status": {"type": "integer"}, "message": {"type": "string"}},
    }
