"""Distances of few examples in many dimensions, and the intervals of measures, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from test_measures import CPU, example, features, view

import bench
from bench.errors import BenchError, UnknownName
from bench.registry import MEASURES, Entry
from bench.schema import near_is_low
from bench.similarity.base import Estimate, Undefined, View, estimate, jackknife, measure_all
from bench.similarity.contract import check_measure
from bench.similarity.distances import Sample, frechet, proxy_a_distance


def sample(rng, n, d, shift=0.0, scale=1.0, power=1.0):
    """Draw from a Gaussian with variances k^-power of total 1, moved by `shift` in squared distance."""
    std = np.arange(1, d + 1) ** (-power / 2)
    std /= np.sqrt(np.sum(std**2))
    moved = np.zeros(d)
    moved[d // 2] = math.sqrt(shift)
    return rng.normal(size=(n, d)) * std * math.sqrt(scale) + moved


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("d", [64, 256, 800])
def test_equal_distributions_are_at_distance_nil_however_few_the_rows(d, power):
    rng = np.random.default_rng(d)
    a, b = sample(rng, 150, d, power=power), sample(rng, 300, d, power=power)
    assert Sample(a).distance(Sample(b)) > 0.09  # what the plain estimate makes of nothing
    found = frechet(a, b)
    assert found.low == 0
    assert found.value < 0.02


@pytest.mark.parametrize("d", [64, 256, 800])
@pytest.mark.parametrize("n", [60, 150, 1000])
def test_a_shift_is_recovered_within_its_interval(n, d):
    rng = np.random.default_rng([n, d])
    found = frechet(sample(rng, n, d), sample(rng, 300, d, shift=0.5))
    assert found.low < 0.5 < found.high
    assert found.value == pytest.approx(0.5, abs=0.1)


def test_a_wider_spread_is_recovered_where_rows_are_many_and_never_overstated():
    rng = np.random.default_rng(0)
    truth = (math.sqrt(2) - 1) ** 2 / 1.5  # variances 1 and 2 in all, in units of their mean
    assert frechet(sample(rng, 1000, 10), sample(rng, 1000, 10, scale=2)).value == pytest.approx(truth, abs=0.03)
    few = frechet(sample(rng, 150, 800), sample(rng, 300, 800, scale=2))
    assert 0.02 < few.low < few.value < truth


def test_near_comes_before_far_though_near_has_few_rows():
    """The order that the plain estimate had wrong: a near source of 110 rows beside a farther one of 1000."""
    rng = np.random.default_rng(3)
    target = sample(rng, 200, 800)
    near, far = sample(rng, 110, 800, shift=0.02), sample(rng, 1000, 800, shift=0.2)
    assert Sample(near).distance(Sample(target)) > Sample(far).distance(Sample(target))
    found = frechet(near, target), frechet(far, target)
    assert found[0].high < found[1].low


def test_intervals_cover_a_shift_as_often_as_they_say():
    rng = np.random.default_rng(1)
    found = [frechet(sample(rng, 80, 8), sample(rng, 120, 8, shift=0.3)) for _ in range(40)]
    covered = np.mean([one.low <= 0.3 <= one.high for one in found])
    assert covered >= 0.9
    assert np.mean([one.value for one in found]) == pytest.approx(0.3, abs=0.02)


def test_the_interval_of_a_mean_is_students():
    """For a mean over the target's examples the jackknife is the usual interval, but for its groups of ten."""
    one = view(example(0), example(1, n=400))

    def each(task):
        return task.x.mean(axis=(1, 2, 3)) - 0.3 * task.y  # classes are 0.3 apart: what is left is noise

    found = jackknife(lambda seen: float(each(seen.target).mean()), one)
    assert found.value == pytest.approx(each(one.target).mean())
    half = 2.1 * each(one.target).std(ddof=1) / math.sqrt(400)
    assert found.high - found.value == pytest.approx(half, rel=0.45)


def test_thinned_views_agree_about_rows_labels_and_features():
    one, seen = view(example(0), example(1)), []

    def look(view):
        seen.append(view)
        return float(len(view.target_labels))

    jackknife(look, one)
    assert len(seen) == 21
    thinned = seen[-1]
    assert len(thinned.target.y) == len(thinned.target_labels) == len(thinned.target_features) == 54
    assert len(thinned.source.y) == len(thinned.source_features) == 60
    assert sorted(thinned.target_labels) == sorted(thinned.target.y)


def test_held_out_examples_alone_are_looked_at():
    one = view(example(0), example(1))
    part = View(one.source, one.target, one.model, CPU, np.arange(20, 40))
    assert sorted(part.source_rows) == list(range(20, 40))
    assert len(part.source_features) == 20
    with pytest.raises(Undefined, match="5 examples are too few"):
        proxy_a_distance(View(one.source, one.target, one.model, CPU, np.arange(5)))


def test_one_measure_that_breaks_does_not_take_the_others_with_it():
    @bench.measure("breaks-without-source")
    def breaks(seen):
        return float(seen.source.x.mean())

    try:
        values, failed = measure_all(["leep", "breaks-without-source"], view(None, example(1)))
        assert values["leep_low"] <= values["leep"] <= values["leep_high"] <= 0.01
        assert values["breaks_without_source"] is None
        assert isinstance(failed["breaks-without-source"], AttributeError)
    finally:
        del MEASURES._entries["breaks-without-source"]


def test_constant_features_have_no_distance():
    with pytest.raises(Undefined, match="do not vary"):
        frechet(np.ones((20, 3)), np.ones((30, 3)))


# Which end is near


def test_a_measure_says_which_end_is_near():
    assert near_is_low("frechet_distance")
    assert not near_is_low("leep")
    assert MEASURES.get("leep").meta["near"] == "high"
    try:
        bench.measure("affinity", near="high")(lambda seen: 1.0)
        bench.measure("remoteness")(lambda seen: 1.0)
        assert not near_is_low("affinity")
        assert near_is_low("remoteness")
    finally:
        for name in ("affinity", "remoteness"):
            MEASURES._entries.pop(name, None)


def test_wrong_ends_and_names_are_said():
    with pytest.raises(UnknownName, match='"hihg"; did you mean "high"'):
        bench.measure("mine", near="hihg")
    with pytest.raises(BenchError, match="ends like the columns of an interval"):
        bench.measure("leep-low")
    problems = check_measure(Entry("measure", "mine", lambda seen: 1.0, meta={"near": "up"}))
    assert any("near = 'up'" in problem for problem in problems)


def test_the_contract_covers_estimates():
    assert check_measure(Entry("measure", "mine", lambda seen: Estimate(1.0, 0.5, 2.0))) == []
    problems = check_measure(Entry("measure", "mine", lambda seen: Estimate(1.0, 1.5, 2.0)))
    assert any("outside its interval" in problem for problem in problems)

    def needs_every_row(seen):
        if len(seen.target_labels) < 80:
            raise ValueError("rows are gone")
        return 1.0

    assert any("rows are gone" in problem for problem in check_measure(Entry("measure", "mine", needs_every_row)))


def test_a_measure_that_knows_no_interval_has_none():
    found = estimate(lambda seen: Estimate(0.3), view(example(0), example(1)))
    assert found.value == 0.3
    assert math.isnan(found.low)


def test_the_proxys_interval_widens_with_fewer_examples():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(600, 4)), rng.normal(size=(600, 4)) + 0.5
    many, few = proxy_a_distance(features(a, b)), proxy_a_distance(features(a[:60], b[:60]))
    assert few.high - few.low > 2 * (many.high - many.low)
