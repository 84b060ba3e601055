"""Erasing what a person has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from archiver.cli import output, words
from archiver.cli.call import WrongCall, call_of, database, flow_keys
from archiver.cli.options import OPERATE, AsJson, Flows, examples
from archiver.cli.output import Column

if TYPE_CHECKING:
    from archiver.store import Found

erasing = typer.Typer()

# What has the value, by its name for programs, and how it is headed for people.
KINDS = {
    "lines": "LINES",
    "runs": "RUNS",
    "steps": "STEPS",
    "details": "FILES",
    "quarantined": "QUARANTINED",
}


@erasing.command(
    rich_help_panel=OPERATE,
    epilog=examples("archiver forget email=ayse@example.com", "archiver forget email=ayse@example.com --yes"),
)
def forget(
    context: typer.Context,
    *,
    what: Annotated[str, typer.Argument(metavar="FIELD=VALUE", help="A field's name, at any depth, and its value.")],
    flow: Flows = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase it; without this nothing is changed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person's data: lines and files that have this value in this field.

    In runs and steps the field is masked. Each leaves a tombstone, so that what is read again does not bring it back.
    Without --yes it only says what would go. It needs the database role that owns the archive. Backups and exports
    made before still have it.
    """
    from archiver import queries
    from archiver.store import Erasure

    name, is_pair, value = what.partition("=")
    if not is_pair:
        raise WrongCall(f"{words.clean(what)!r} is no FIELD=VALUE: write it as email=ayse@example.com")
    with database(call_of(context).any_config()) as engine:
        room = Erasure(engine, name.strip(), value)
        with queries.reading(engine) as reader:
            known = queries.flows(reader)
        names = {row.flow_key: row.flow_name for row in known}
        found = [room.find(key) for key in flow_keys(known, flow or ())]
        if yes:
            for one in found:
                room.erase(one)
    _print([one for one in found if one], names, erased=yes, as_json=as_json)


def _print(found: Sequence[Found], names: Mapping[int, str], *, erased: bool, as_json: bool) -> None:
    rows = [
        {
            "flow_name": names[one.flow_key],
            "flow_key": one.flow_key,
            **{kind: len(getattr(one, kind)) for kind in KINDS},
        }
        for one in found
    ]
    if as_json:
        output.write_object({"erased": erased}, flows=iter(rows))
        return
    if not rows:
        output.say("nothing in the archive has this value in this field")
        return
    columns = [Column("FLOW", keep=True), *(Column(name, right=True, keep=True) for name in KINDS.values())]
    output.print_table(
        columns,
        [[str(row["flow_name"]), *(words.number(int(str(row[kind]))) for kind in KINDS)] for row in rows],
        every=True,
    )
    if erased:
        output.say("erased; in runs and steps the field is masked. Backups and exports made before still have it.")
    else:
        output.say(
            "nothing is erased yet: the same with --yes does it, and cannot be undone; runs and steps are masked"
        )
