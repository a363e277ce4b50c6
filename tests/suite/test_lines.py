"""The line of a suite file that a problem speaks of."""

from __future__ import annotations

import pytest

from bench.errors import Problem
from bench.suite.lines import with_line

LISTS = """\
backbones = ["cnn"]
strategies = [  # three
  "fine-tune",  # [not, this]
  { strategy = "fine-tune", depths = [0, 2], method = "l2-sp" },

  { strategy = "scratch",
    method = "l2-sp" }, "joint"
]
target_sizes = [20]
[[pairs]]
sources = ["a", ["b", "c"]]
target = "d"
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("strategies[0]", 3),
        ("strategies[1]", 4),
        ("strategies[2]", 6),
        ("strategies[3]", 7),
        ("strategies[9]", 2),
        ("backbones[0]", 1),
        ("target_sizes[0]", 9),
        ("pairs[0].sources[1]", 11),
    ],
)
def test_an_entry_of_a_list_is_found_on_its_own_line(place, line):
    assert with_line(Problem(place, "wrong"), LISTS).place == f"{place} (line {line})"
