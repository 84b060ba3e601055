"""Each rule of the walk is there for a reason: without it, the same lists and readers lose rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from archiver.window import Answer, Ask, Order, Outcome, Probe, Walk
from archiver.window.tail import Tail
from tests.walk.model import ORDERS, WORLDS
from tests.walk.reader import Case, Missed, Reader

SEEDS = 12
CASES = [Case(order, world, seed) for seed in range(SEEDS) for order in ORDERS for world in WORLDS]


class FarSighted(Reader):
    """Takes the clock of its own machine, which runs ahead, for the source's."""

    def signpost(self, asked_at: int) -> int:
        return self.source.now + 2 * self.source.lateness


class Strict(Reader):
    """Takes only rows that are newer than the frontier."""

    def wants(self, walk: Walk, created: int) -> bool:
        return created > (walk.frontier or walk.floor)


class StateFirst(Reader):
    """Commits the state of the pass, then the rows."""

    def _commit(self, walk: Walk, answer: Answer) -> None:
        self._save_state(walk)
        if self._crashes():
            return
        self._save_rows(walk, answer)
        if walk.certified:
            self.check()


def _accept_all(walk: Walk, ask: Ask, answer: Answer, stored: Any) -> Walk:
    return walk._accept(ask, answer, stored, answer.rows) if answer.rows else walk._end()


def _fresh_signpost(state: Mapping[str, Any]) -> Walk:
    return replace(_from_json(state), signpost=None)


def _short_page_ends(walk: Walk, ask: Ask, *, shortest: int) -> Walk:
    if len(walk.border) < 100:
        return replace(walk, outcome=Outcome.ENDED)
    return _end_or_go_on(walk, ask, shortest=shortest)


def _known_page_stops(walk: Walk, stored: Any) -> bool:
    return all(mark.id in stored for mark in walk.border)


def _first_guess(tail: Tail, ask: Ask, answer: Answer) -> Tail:
    if answer.rows and ask.page > 1:
        return replace(tail, size=ask.limit, page=ask.page, rows=tuple(answer.rows))
    return _take_tail(tail, ask, answer)


_from_json, _end_or_go_on, _take_tail = Walk.from_json, Walk._end_or_go_on, Tail.take

MUTANTS: dict[str, tuple[type, str, Any]] = {
    "windows need not overlap": (Walk, "_take_next", _accept_all),
    "ties link": (Walk, "links", property(lambda walk: frozenset(mark.id for mark in walk.border))),
    "frontier from the greatest created": (Walk, "settled", property(lambda walk: walk.probe.newest or 0)),
    "frontier without lateness": (Walk, "settled", property(lambda walk: walk.signpost or 0)),
    "a new signpost for a resumed pass": (Walk, "from_json", staticmethod(_fresh_signpost)),
    "a short page ends the list": (Walk, "_end_or_go_on", _short_page_ends),
    "a page of known rows ends the walk": (Walk, "_reached", _known_page_stops),
    "every list is newest first": (Probe, "verdict", lambda probe, backward: Order.NEWEST_FIRST),
    "the tail is where count says": (Tail, "take", _first_guess),
}
READERS: dict[str, type[Reader]] = {
    "frontier from the local clock": FarSighted,
    "greater than, at the boundary": Strict,
    "state committed before rows": StateFirst,
}


def catch(reader: type[Reader] = Reader) -> Case:
    """The first of the cases in which rows are missed."""
    for case in CASES:
        try:
            case.play(reader)
        except Missed:
            return case
        except AssertionError:
            continue  # a mutant need not come to an end
    pytest.fail(f"no rows are missed in {len(CASES)} cases")


@pytest.mark.parametrize("name", MUTANTS)
def test_without_this_rule_rows_are_missed(name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*MUTANTS[name])
        case = catch()
    case.play()


@pytest.mark.parametrize("name", READERS)
def test_such_a_reader_misses_rows(name: str) -> None:
    catch(READERS[name]).play()
