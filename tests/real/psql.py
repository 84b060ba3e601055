"""psql: lists the views with their comments, and reads each."""

from __future__ import annotations

from archiver import embedded
from tests.real.place import Place, Skipped, must, run
from tests.real.truth import truth


def probe(place: Place) -> str:
    """Every view, found without its schema's name."""
    program = embedded.psql()
    if program is None:
        raise Skipped("there is no psql")
    ask = [str(program), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", place.reader]
    listed = run([*ask, "-c", r"\dv+"]).decode()
    views = truth(place)
    rows = 0
    for view in views.values():
        must(view.comment in listed, f"\\dv+ does not tell about {view.name}")
        described = run([*ask, "-c", rf"\d+ {view.name}"]).decode()
        must(all(f"{one.name}|{one.type}" in described for one in view.columns), f"\\d+ {view.name}: {described}")
        rows += len(run([*ask, "-c", f'SELECT row(v.*) FROM "{view.name}" v LIMIT 1000']).splitlines())
    return f"{len(views)} views with their comments, {rows} rows"
