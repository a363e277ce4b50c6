"""Units are handed out once each, and those that share a start to one worker while there is other work."""

from __future__ import annotations

from bench.launch.feed import Feed, singly
from bench.trial import Check, Group


def group(name, start):
    return Group((name,), start)


def test_a_worker_keeps_the_groups_of_one_start():
    units = [group(f"{start}{i}", start) for start in (0, 1, 2) for i in range(3)]
    feed = Feed(units)
    first, second = [feed.next(0) for _ in range(3)], [feed.next(1) for _ in range(3)]
    assert {u.start for u in first} == {0}
    assert {u.start for u in second} == {1}
    assert feed.next(1).start == 2


def test_who_has_nothing_left_takes_from_who_has_most_and_nothing_is_lost():
    units = [group(f"{i}", 0) for i in range(5)] + [group("other", 1)]
    feed = Feed(iter(units))
    taken = [feed.next(worker) for worker in (0, 1, 2, 2, 1, 0)]
    assert sorted(u.members[0] for u in taken) == sorted(u.members[0] for u in units)
    assert [feed.next(worker) for worker in range(3)] == [None] * 3


def test_units_that_share_nothing_are_spread():
    units = [Check("digits", i) for i in range(4)]
    feed = Feed(units)
    assert [feed.next(w) for w in (0, 1, 0, 1)] == units
    assert feed.is_empty()
    assert Feed([]).next(0) is None


def test_what_is_put_back_comes_first():
    feed = Feed([group("a", 0), group("b", 0)])
    both = Group(("x", "y"), 0)
    feed.next(0)
    feed.again(0, singly(both))
    assert {feed.next(0).members[0] for _ in range(2)} == {"x", "y"}
    assert feed.next(0).members == ("b",)
    assert singly(group("b", 0)) == []
