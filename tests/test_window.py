"""The page walk against a list that grows, shrinks and misbehaves: whatever it certifies is there.

`ARCHIVER_SEEDS=500 pytest tests/test_window.py` plays more lives; `Case(order, world, seed).play()` plays one again.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import pytest

from archiver.window import (
    Answer,
    Ask,
    Interval,
    Listed,
    Mark,
    Order,
    Outcome,
    Probe,
    Sweep,
    Tally,
    Walk,
    cover,
    covers,
)
from archiver.window.asks import away_from_head, towards_head
from archiver.window.tail import Tail
from tests.walk.model import EPOCH, ORDERS, SECOND, WORLDS, Manners, Source
from tests.walk.reader import Archive, Case, Missed, Reader

SEEDS = int(os.environ.get("ARCHIVER_SEEDS", "25"))
LATENESS = 60 * SECOND
NEWEST = ("newest", "unstable", "insertion")
OLDEST = ("oldest", "oldest-unstable", "insertion-ascending")


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("order", ORDERS)
def test_what_is_certified_is_stored(order: str, world: str) -> None:
    for seed in range(SEEDS):
        case = Case(order, world, seed)
        try:
            case.play()
        except Exception as exc:
            exc.add_note(f"{case}.play() plays it again")
            raise


def _reader(order: str, world: str, seed: int = 1, *, length: int = 300, manners: Manners | None = None) -> Reader:
    rng = random.Random(f"{order} {world} {seed}")
    source = Source(order, WORLDS[world], rng, length=length, lateness=LATENESS, manners=manners)
    return Reader(source, Archive(), rng)


# --- it gets somewhere ---


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("order", ORDERS)
def test_polls_certify_within_few_requests(order: str, world: str, seed: int) -> None:
    reader = _reader(order, world, seed)
    for _ in range(4):
        before = reader.source.requests
        assert reader.poll() in (Outcome.STOPPED, Outcome.ENDED)
        assert reader.source.requests - before <= 40
        reader.source.pass_time(30.0, 10.0)


@pytest.mark.parametrize("order", NEWEST)
def test_an_idle_poll_of_a_list_that_is_newest_first_is_one_request(order: str) -> None:
    reader = _reader(order, "quiet")
    assert reader.poll() is Outcome.ENDED
    for _ in range(3):
        reader.source.pass_time(600.0)
        before = reader.source.requests
        assert reader.poll() is Outcome.STOPPED
        assert reader.source.requests == before + 1


@pytest.mark.parametrize("order", OLDEST)
def test_an_idle_poll_of_a_list_that_is_oldest_first_stops_early(order: str) -> None:
    reader = _reader(order, "quiet")
    assert reader.poll() is Outcome.ENDED
    reader.source.pass_time(600.0)
    before = reader.source.requests
    assert reader.poll() is Outcome.STOPPED
    assert reader.source.requests <= before + 2


@pytest.mark.parametrize("length", [1, 2, 9, 10, 11, 60, 99])
def test_a_short_list_takes_two_requests_and_one_once_its_count_is_known_to_be_right(length: int) -> None:
    reader = _reader("newest", "quiet", length=length)
    reader.poll()
    assert reader.source.requests <= 2
    before = reader.source.requests
    assert reader.poll() in (Outcome.STOPPED, Outcome.ENDED)
    assert reader.source.requests == before + 1


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 199, 200, 250])
@pytest.mark.parametrize("cap", [None, 50, 17])
@pytest.mark.parametrize("count", ["true", "none", "wrong", "capped"])
@pytest.mark.parametrize("order", ["newest", "oldest", "arbitrary"])
def test_every_length_comes_to_its_end(order: str, count: str, cap: int | None, length: int) -> None:
    reader = _reader(order, "quiet", length=length, manners=Manners(count=count, cap=cap))
    for _ in range(2):
        outcome = reader.poll()
        assert outcome is Outcome.EMPTY if not length else outcome in (Outcome.ENDED, Outcome.STOPPED)
    assert reader.archive.stored == {row.id for row in reader.source.rows}


@pytest.mark.parametrize("order", ["newest", "oldest", "arbitrary"])
def test_a_source_that_ignores_the_page_number_certifies_nothing(order: str) -> None:
    reader = _reader(order, "quiet", manners=Manners(ignores_page=True))
    assert reader.poll() is Outcome.UNCERTIFIED
    assert reader.archive.reasons[0]
    assert reader.source.requests <= 45
    assert reader.archive.frontier is None


def test_a_list_that_was_shuffled_is_only_certified_by_two_walks_that_agree() -> None:
    reader = _reader("newest", "quiet")
    rows = reader.source.rows
    walk = Walk.begin(lateness=LATENESS, floor=EPOCH)
    walk = walk.take(Ask(100, 1), Answer([Mark(row.id, row.created) for row in rows[:100]]), (), reader.source.now)
    ask = walk.ask()
    shared = rows[ask.start : 100][::-1] + rows[100 : ask.end]
    overlap = [Mark(row.id, row.created) for row in rows[80:100][::-1] + rows[100:180]]
    assert shared
    walk = walk.take(ask, Answer(overlap), (), reader.source.now)
    assert (walk.phase, walk.order) == ("loose", Order.ARBITRARY)


def test_a_group_of_equal_times_larger_than_a_page_is_read_twice() -> None:
    reader = _reader("unstable", "quiet", length=20)
    moment = reader.source.now
    for _ in range(150):
        reader.source.add(moment)
    assert reader.poll() is Outcome.ENDED
    assert reader.archive.stored == {row.id for row in reader.source.rows}


def test_a_missed_row_is_found_by_the_oracle() -> None:
    reader = _reader("newest", "quiet")
    reader.poll()
    reader.archive.stored.pop()
    with pytest.raises(Missed):
        reader.check()


def test_a_walk_survives_json_at_every_step() -> None:
    reader = _reader("oldest", "mixed", length=250)
    walk = Walk.begin(lateness=LATENESS, floor=EPOCH)
    while walk.outcome is Outcome.GOING:
        ask = walk.ask()
        answer, asked_at = reader.source.answer(ask)
        walk = walk.take(ask, answer, (), asked_at)
        assert Walk.from_json(json.loads(json.dumps(walk.to_json()))) == walk
    assert walk.certified


# --- windows ---


@pytest.mark.parametrize("largest", [100, 50, 7, 1])
def test_windows_cover_the_index_asked_for(largest: int) -> None:
    for index in range(500):
        out, back = away_from_head(index, largest), towards_head(index, largest)
        assert out.start <= index < out.end
        assert out.limit <= largest
        assert back.start < max(index, 1) <= back.end
        assert back.limit <= largest


def test_windows_reach_far() -> None:
    assert min(away_from_head(index, 100).end - index for index in range(2000)) >= 40


# --- the order probe ---


def _marks(*created: int) -> list[Mark]:
    return [Mark(number, moment * LATENESS) for number, moment in enumerate(created)]


@pytest.mark.parametrize(
    ("created", "order"),
    [
        ((9, 7, 5, 3), Order.NEWEST_FIRST),
        ((3, 5, 7, 9), Order.OLDEST_FIRST),
        ((9, 5, 7, 3), Order.ARBITRARY),
        ((5, 5, 5), Order.UNKNOWN),
        ((5, 4, 5, 4), Order.UNKNOWN),
        ((9, 7, 8, 5, 6), Order.NEWEST_FIRST),
        ((), Order.UNKNOWN),
    ],
)
def test_probe(created: tuple[int, ...], order: Order) -> None:
    assert Probe().look(_marks(*created), LATENESS).verdict(backward=False) is order
    assert Probe().look(_marks(*created[::-1]), LATENESS).verdict(backward=True) is order


def test_the_probe_looks_across_windows() -> None:
    probe = Probe().look(_marks(9, 7), LATENESS).look(_marks(5), LATENESS)
    assert probe.verdict(backward=False) is Order.NEWEST_FIRST
    assert probe.look(_marks(8), LATENESS).verdict(backward=False) is Order.ARBITRARY


def test_what_came_together_tells_little_of_an_order() -> None:
    assert not Probe().look(_marks(*[9] * 50, *[7] * 100), LATENESS).enough
    assert not Probe().look(_marks(9, 7, 5, 3), LATENESS).enough
    assert Probe().look(_marks(*range(200, 100, -1)), LATENESS // 2).enough


# --- the tail of a list that is oldest first ---


@pytest.mark.parametrize("cap", [100, 30])
@pytest.mark.parametrize("guess", ["none", "right", "low", "high", "a page"])
@pytest.mark.parametrize("length", [1, 9, 10, 61, 100, 101, 1000, 1001, 12_345])
def test_tail(length: int, guess: str, cap: int) -> None:
    guesses = {"right": length, "low": length // 3, "high": 4 * length, "a page": 100}
    tail = Tail(guesses.get(guess))
    while not tail.rows:
        ask = tail.ask()
        size = min(cap, ask.limit)
        rows = [Mark(one, one) for one in range(length)][size * (ask.page - 1) : size * ask.page]
        tail = tail.take(ask, Answer(rows))
        assert not tail.hopeless
    assert tail.rows[-1] == Mark(length - 1, length - 1)
    assert tail.tries <= 25


def test_tail_of_nothing() -> None:
    tail = Tail()
    assert tail.take(tail.ask(), Answer([])).empty


# --- the lines of a finished run ---


def _sweep(ids: list[int], count: int | None, sweep: Sweep | None = None, width: int = 3) -> Sweep:
    sweep = sweep or Sweep()
    while asks := sweep.asks(width):
        for ask in asks:
            sweep = sweep.take(Listed.of(ids[ask.start : ask.end], count))
        sweep = Sweep.from_json(json.loads(json.dumps(sweep.to_json())))
    return sweep


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101, 1000])
def test_static_certificate(length: int) -> None:
    sweep = _sweep(list(range(length)), length)
    assert sweep.certified(length)
    assert not sweep.certified(length - 1)
    assert sweep.tally == Tally().add(range(length))


@pytest.mark.parametrize("count", [None, 100, 150, 200, 1_000_000])
def test_without_a_right_count_two_sweeps_have_to_agree(count: int | None) -> None:
    ids = list(range(250))
    first = _sweep(ids, count)
    assert not first.certified(len(ids)) or count == len(ids)
    second = _sweep(ids, count, first.again())
    assert second.certified(len(ids))
    third = _sweep([*ids, 999], count, first.again())
    assert not third.certified(len(ids))


def _believes_too_little(seed: int) -> bool:
    """Sweeps over 176 lines, of which three each have one time and change places at every request, until one of them
    is believed; whether a line is missing then. As many are stored as were seen."""
    chance, sweep, stored = random.Random(seed), Sweep(), set[int]()
    while not sweep.exhausted:
        while asks := sweep.asks(3):
            for ask in asks:
                ids = [
                    one for n in range(0, 176, 3) for one in chance.sample(range(n, min(n + 3, 176)), min(3, 176 - n))
                ]
                page = ids[ask.start : ask.end]
                stored |= set(page)
                sweep = sweep.take(Listed.of(page, 176))
        if sweep.certified(len(stored)):
            return len(stored) < 176
        sweep = sweep.again()
    return False


def test_sweeps_that_agree_have_not_missed_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(map(_believes_too_little, range(300)))
    monkeypatch.setattr("archiver.window.sweep.SIZES", (100, 100))
    assert sum(map(_believes_too_little, range(300))) > 10


@pytest.mark.parametrize("count", [None, 100, 200, 250, 1_000_000])
def test_a_sweep_asks_for_one_page_behind_a_short_one_and_for_none_where_all_that_was_counted_is_there(
    count: int | None,
) -> None:
    ids, sweep, pages = list(range(250)), Sweep(), 0
    while asks := sweep.asks(1):
        pages += len(asks)
        sweep = sweep.take(Listed.of(ids[asks[0].start : asks[0].end], count))
    assert pages == (3 if count == 250 else 4)
    short = Sweep().take(Listed.of(range(7), None))
    assert len(short.asks(10)) == 1


def test_sweep_of_a_source_that_ignores_the_page_number() -> None:
    sweep = Sweep().take(Listed.of(range(100), 300)).take(Listed.of(range(100), 300))
    assert sweep.ended
    assert not sweep.certified(300)
    assert sweep.again().exhausted


def test_sweep_of_a_source_with_a_page_size_of_its_own() -> None:
    ids, sweep = list(range(120)), Sweep()
    while asks := sweep.asks(2):
        for ask in asks:
            sweep = sweep.take(Listed.of(ids[50 * (ask.page - 1) : 50 * ask.page], 120))
    assert sweep.certified(120)


# --- intervals ---


def test_cover() -> None:
    one = cover((), 10, 20)
    assert one == (Interval(10, 20),)
    assert cover(one, 20, 30) == (Interval(10, 30),)
    assert cover(one, 25, 30) == (Interval(10, 20), Interval(25, 30))
    assert cover(cover(one, 25, 30), 15, 27) == (Interval(10, 30),)
    assert cover(one, 12, 13) == one
    assert cover(one, 30, 25) == one


def test_covers() -> None:
    intervals = (Interval(10, 20), Interval(30, 40))
    assert [moment for moment in (9, 10, 19, 20, 29, 30, 39, 40) if covers(intervals, moment)] == [10, 19, 30, 39]


@pytest.mark.parametrize("count", [None, 250, "of the page"])
def test_a_page_that_falls_short_in_the_middle_does_not_end_the_list(count: int | str | None) -> None:
    """A source that hides some rows after it has cut the page: short pages all over, and more behind them."""
    rows = [Mark(number, 10**15 - number * 10**9) for number in range(250)]
    walk, seen = Walk.begin(lateness=0, floor=0), set[int]()
    for _ in range(40):
        ask = walk.ask()
        page = [mark for mark in rows[ask.start : ask.end] if mark.id % 17]
        seen |= {mark.id for mark in page}
        said = len(page) if isinstance(count, str) else count
        walk = walk.take(ask, Answer(page, said), frozenset(), 10**15)
        if walk.outcome is not Outcome.GOING:
            break
    assert walk.outcome is Outcome.ENDED or walk.reach is not None
    assert seen == {mark.id for mark in rows if mark.id % 17}


# --- what the worlds above come by only now and then ---


def test_a_source_that_ignores_the_page_size_is_walked_without_links() -> None:
    walk = Walk.begin(lateness=LATENESS, floor=0)
    walk = walk.take(Ask(100, 1), Answer(_marks(*range(150, 0, -1)), 150), (), 1000 * SECOND)
    assert walk.outcome is Outcome.GOING
    assert walk.reason == "the page size cannot be chosen"
    assert walk.ask() == Ask(100, 1)


def test_a_list_in_no_order_that_always_brings_news_certifies_nothing() -> None:
    walk = Walk.begin(lateness=0, floor=0, order=Order.ARBITRARY)
    for number in range(100):
        if walk.outcome is not Outcome.GOING:
            break
        answer = Answer([Mark(1000 + number, number * SECOND)], 1) if walk.ask().page == 1 else Answer([], 1)
        walk = walk.take(walk.ask(), answer, (), 1000 * SECOND)
    assert walk.outcome is Outcome.UNCERTIFIED
    assert "no order" in walk.reason


def test_a_walk_says_how_far_it_reaches_only_where_the_order_is_known() -> None:
    rows = _marks(*range(100_000, 0, -1000))
    begun = Walk.begin(lateness=0, floor=0)
    assert begun.reach is None
    known = replace(begun, order=Order.NEWEST_FIRST, probe=Probe(rows=1000, steps=1000, falls=True))
    assert known.reach is None
    walk = known.take(Ask(100, 1), Answer(rows, 1000), (), 200_000 * SECOND)
    assert walk.reach == rows[-1].created + 1


def test_a_sweep_that_has_ended_stays_as_it_is() -> None:
    sweep = Sweep().take(Listed.of([], 0))
    assert sweep.ended
    assert sweep.take(Listed.of([1], 1)) is sweep
    assert sweep.asks(4) == []


def test_a_walk_gives_up_at_last() -> None:
    walk = replace(Walk.begin(lateness=0, floor=0), restarts=1000, border=tuple(_marks(9, 7)))
    assert walk._begin_again().outcome is Outcome.UNCERTIFIED
    loose = replace(Walk.begin(lateness=0, floor=0)._loosen("no links"), rounds=1000, before=Tally(), tally=Tally(1, 1))
    assert "no two walks agreed" in loose._compare(Outcome.ENDED).reason


def test_a_page_that_is_as_full_as_the_source_makes_them_is_not_the_last() -> None:
    """`count` may be the number of its rows; `limit` says that it is a full one."""
    capped = Sweep().take(Listed.of(range(50), 50, 50))
    assert (capped.ended, capped.size, capped.asks(1)) == (False, 50, [Ask(50, 2)])
    assert capped.take(Listed.of((), 0, 50)).certified(50)
    assert Sweep().take(Listed.of(range(50), 50, 100)).certified(50)
    walk = Walk.begin(lateness=0, floor=0)
    walk = walk.take(Ask(100, 1), Answer(_marks(*range(25)), 25, 25), (), 99)
    assert walk.outcome is Outcome.GOING


def test_the_count_of_a_list_of_one_page_says_nothing_of_longer_ones() -> None:
    walk = Walk.begin(lateness=0, floor=0).take(Ask(100, 1), Answer(_marks(8, 7), 2, 100), (), 99)
    assert (walk.outcome, walk.count_holds) == (Outcome.ENDED, False)
