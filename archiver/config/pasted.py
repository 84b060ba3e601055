"""A first configuration out of addresses that somebody copied from the Integrator's pages or calls."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from archiver.config.model import ENVIRONMENTS
from archiver.config.values import web_url, word

# As the Integrator spells them here and there; all are compared without case and `_`.
_PROJECT, _FLOW, _SLUG, _NAME = ("projectid",), ("flowid", "processgroupid"), ("projectslug", "slug"), ("flowname",)


class Pasted(NamedTuple):
    """What an address says. `slug` and `name` are empty where it does not say them."""

    base_url: str
    project_id: str
    flow_id: str
    slug: str = ""
    name: str = ""


def pasted(url: str) -> Pasted:
    """Project and flow of an address such as `https://host:3000/logs?projectid=…&flowId=…`. Raises ValueError."""
    try:
        parts = urlsplit(url.strip())
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        base = web_url(f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else ""))
    except ValueError as exc:
        raise ValueError(f"is no address of an Integrator ({exc})") from None
    # Pages keep theirs behind the #, as /page?a=b.
    said = parse_qsl(parts.query) + parse_qsl(parts.fragment.partition("?")[2])
    given = {name.lower().replace("_", ""): value for name, value in reversed(said) if value.strip()}

    def first(names: Sequence[str]) -> str:
        return next((word(given[name]) for name in names if name in given), "")

    project, flow = first(_PROJECT), first(_FLOW)
    missing = [name for name, value in (("projectId", project), ("flowId", flow)) if not value]
    if missing:
        raise ValueError(f"has no {' and no '.join(missing)}; copy one that has, as /logs?projectid=…&flowId=…")
    return Pasted(base, project, flow, first(_SLUG), first(_NAME))


def filled(example: str, addresses: Sequence[Pasted]) -> str:
    """The example with the integrators, projects and flows of these addresses in the place of its own."""
    bases = list(dict.fromkeys(one.base_url for one in addresses))
    names = _integrators(bases)
    head, rest = example.split("integrators:\n", 1)
    tail = rest[rest.index("\ndefaults:") :]
    integrators = "\n".join(_integrator(base, names[base], alone=len(bases) == 1) for base in bases)
    return f"{head}integrators:\n{integrators}\nprojects:\n{_projects(addresses, names)}{tail}"


def _integrators(bases: Sequence[str]) -> dict[str, str]:
    known = {url: name for name, url in ENVIRONMENTS.items()}
    return {base: known.get(base) or re.sub(r"\W+", "-", base.partition("://")[2]) for base in bases}


def _integrator(base: str, name: str, *, alone: bool) -> str:
    prefix = "INTEGRATOR" if alone else re.sub(r"\W", "_", name).upper()
    where = f"environment: {name}" if ENVIRONMENTS.get(name) == base else f"base_url: {_quoted(base)}"
    return (
        f"  {_quoted(name)}:\n    {where}\n    username: ${{{prefix}_USERNAME}}   # or, instead of both: token\n"
        f"    password: ${{{prefix}_PASSWORD}}\n"
    )


def _projects(addresses: Sequence[Pasted], names: dict[str, str]) -> str:
    lines: list[str] = []
    count = 0
    for base, project in dict.fromkeys((one.base_url, one.project_id) for one in addresses):
        mine = [one for one in addresses if (one.base_url, one.project_id) == (base, project)]
        slug = next((one.slug for one in mine if one.slug), "")
        lines += [f"  - id: {_quoted(project)}", f"    slug: {_quoted(slug or 'my-brand')}"]
        lines[-1] += "" if slug else "                     # its slug; files are asked for by it"
        lines += [f"    integrator: {_quoted(names[base])}", "    flows:"]
        for flow in dict.fromkeys(one.flow_id for one in mine):
            count += 1
            name = next((one.name for one in mine if one.flow_id == flow and one.name), f"flow-{count}")
            lines.append(f"      - {{id: {_quoted(flow)}, name: {_quoted(name)}, every: 5m}}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text.replace("${", "$${"), ensure_ascii=False)
