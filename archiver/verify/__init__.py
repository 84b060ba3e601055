"""The independent audit: is what the Integrator shows in the archive, and is what is in the archive what it showed?

It shares no code with the walk that it audits: its own pages, one after the other, twice and with pages of another
size, and their union (`walker`); read-only transactions (`queries.holdings`); every row compared as a whole and not by
what the archive says of itself. What it has seen it keeps in a file of its own (`notebook`), so that an audit that was
killed goes on. A candidate for lost or stale is asked for again before it is reported.

- `audit_flow`: one flow against its source.
- `check_self`: the invariants that the archive must hold by itself.
- `Mender`: what `--repair` does, through the ordinary writer, under a lease.
"""

from archiver.verify.audit import Audited, Progress, Scope, audit_flow
from archiver.verify.case import Case
from archiver.verify.invariants import Broken, check_self
from archiver.verify.notebook import Notebook, notebook
from archiver.verify.repair import Mender
from archiver.verify.verdict import Finding, Verdict

__all__ = [
    "Audited",
    "Broken",
    "Case",
    "Finding",
    "Mender",
    "Notebook",
    "Progress",
    "Scope",
    "Verdict",
    "audit_flow",
    "check_self",
    "notebook",
]
