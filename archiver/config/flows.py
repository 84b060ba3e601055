"""The flows of all projects: defaults applied, each bound to its integrator, none twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

from archiver.config.model import Flow, Integrator
from archiver.config.problems import BROKEN, Problems, nearest
from archiver.config.sections import FlowDefaults, FlowSection, ProjectSection

_EVERY = timedelta(minutes=5)
_SETTINGS = {field.name for field in fields(Flow)} & set(FlowDefaults.model_fields)

Integrators = Mapping[str, Integrator | None]  # None: named, but its settings are wrong


def flows_of(problems: Problems, projects: Any, defaults: Any, integrators: Integrators) -> tuple[Flow, ...]:
    """The flows that could be made; whatever is wrong with the others is added to the problems."""
    _schedule(problems, defaults, "defaults")
    base = problems.section(FlowDefaults, defaults, "defaults") or FlowDefaults()
    found: list[tuple[str, Flow]] = []
    for index, raw in enumerate(_list(problems, projects, "projects")):
        path = f"projects[{index}]"
        listed = raw.get("flows") if isinstance(raw, Mapping) else None
        project = problems.section(ProjectSection, raw, path)
        name = _integrator(problems, project, integrators, path)
        for place, flow in enumerate(_list(problems, listed, f"{path}.flows")):
            here = f"{path}.flows[{place}]"
            _schedule(problems, flow, here)
            section = problems.section(FlowSection, flow, here)
            if section and project and name:
                found.append((here, _flow(problems, project, name, base, section, path=here)))
    _unique(problems, found, integrators)
    return tuple(flow for _, flow in found)


def _list(problems: Problems, raw: Any, path: str) -> list[Any]:
    if raw in (None, "") or raw is BROKEN:
        return []
    if not isinstance(raw, list):
        problems.add(path, "must be a list; start each entry with '- '", raw)
        return []
    return raw


def _integrator(problems: Problems, project: ProjectSection | None, integrators: Integrators, path: str) -> str | None:
    if project is None:
        return None
    name, path = project.integrator, f"{path}.integrator"
    if name in integrators:
        return name
    if name is not None:
        near = nearest(name, list(integrators))
        known = f"did you mean '{near}'?" if near else f"the configured ones are: {', '.join(integrators) or 'none'}"
        problems.add(path, f"there is no such integrator; {known}", name)
    elif len(integrators) == 1:
        return next(iter(integrators))
    elif integrators:
        problems.add(path, f"is missing; name one of {', '.join(integrators)}")
    else:
        problems.add("integrators", f"is missing; {path.removesuffix('.integrator')} needs one")
    return None


def _schedule(problems: Problems, raw: Any, path: str) -> None:
    if isinstance(raw, Mapping) and raw.get("every") not in (None, "") and raw.get("cron") not in (None, ""):
        problems.add(f"{path}.cron", "stands beside every; leave one of the two out")


def _flow(
    problems: Problems, project: ProjectSection, integrator: str, base: FlowDefaults, own: FlowSection, *, path: str
) -> Flow:
    settings: dict[str, Any] = {name: getattr(base, name) for name in _SETTINGS}
    if own.every or own.cron:
        settings |= {"every": None, "cron": None}
    settings |= {name: getattr(own, name) for name in own.model_fields_set & _SETTINGS}
    if not settings["cron"] and not settings["every"]:
        settings["every"] = _EVERY
    given = base.model_fields_set | own.model_fields_set
    for part in ("keep_lines", "keep_details"):
        settings[part] = _kept(problems, settings["keep"], settings[part], part in given, f"{path}.{part}")
    return Flow(integrator, project.id, project.slug, own.id, own.name, **settings)


def _kept(
    problems: Problems, whole: timedelta | None, part: timedelta | None, given: bool, path: str
) -> timedelta | None:
    """Lines and details go with their run at the latest."""
    if not given or whole is None:
        return part if given else whole
    if part is None or part > whole:
        problems.add(path, "is longer than keep, but lines and details go with their run; make keep longer")
    return part


def _unique(problems: Problems, found: list[tuple[str, Flow]], integrators: Integrators) -> None:
    names: dict[str, str] = {}
    keys: dict[tuple[str, str, str], str] = {}
    for path, flow in found:
        known = integrators[flow.integrator]
        key = (known.base_url if known else flow.integrator, flow.project_id, flow.flow_id)
        if names.setdefault(flow.name, path) != path:
            problems.add(f"{path}.name", f"is the name of {names[flow.name]} too; give each flow its own", flow.name)
        if keys.setdefault(key, path) != path:
            problems.add(f"{path}.id", f"the flow is there already, as {keys[key]}; leave one out", flow.flow_id)
