"""Test labels of a suite's targets stand in the order in which trials are tested."""

import numpy as np

import bench
from bench.stats.classes import per_class_gap
from bench.tasks.truth import test_labels as labels_of


def test_labels_and_answers_of_a_run_fit_together(small_suite, tmp_path):
    rows = bench.run(small_suite, tmp_path / "out", jobs=0)
    labels, classes = labels_of(small_suite)
    assert classes["digits"] == tuple("0123456789")
    correct = bench.load_correctness(tmp_path / "out")
    table = per_class_gap(rows, correct, labels, classes)
    assert table["n_examples"].sum() == len(labels["digits"]) * table.groupby("source").ngroups * (
        table.groupby(["strategy", "frozen_depth", "target_size"]).ngroups
    )
    gaps = bench.negative_transfer(rows).set_index(["source", "strategy", "frozen_depth", "target_size"])["ntg"]
    for place, part in table.groupby(["source", "strategy", "frozen_depth", "target_size"]):
        assert np.isclose(np.average(part["ntg"], weights=part["n_examples"]), gaps[place])
