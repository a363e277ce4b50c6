"""The contract of adaptations: the built-in ones keep it, and each breach is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import bench
from bench.adaptations.contract import check_adaptation
from bench.registry import ADAPTATIONS, load_plugin


@pytest.mark.parametrize("name", ["full", "bias", "norm", "lora"])
def test_built_in_adaptations_keep_the_contract(name):
    assert check_adaptation(ADAPTATIONS.get(name)) == []


def test_arguments_are_checked_too():
    assert check_adaptation(ADAPTATIONS.get("lora"), {"rank": 2}) == []
    assert "rank = 0 is not" in check_adaptation(ADAPTATIONS.get("lora"), {"rank": 0})[0]


class Silent(bench.Adaptation):
    def trains(self, layer, name):
        return False


class Broken(bench.Adaptation):
    def trains(self, layer, name):
        return layer.no_such_thing


class Undefined(bench.Adaptation):
    pass


class Unused(bench.Adaptation):
    def trains(self, layer, name):
        return name == "idle"

    def extend(self, block):
        block.idle = nn.Parameter(torch.zeros(2))
        return block


class Unseeded(bench.Adaptation):
    drawn = 0

    def trains(self, layer, name):
        return True

    def extend(self, block):
        Unseeded.drawn += 1
        return nn.Sequential(block, Shift(float(Unseeded.drawn)))


class Shift(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(value))

    def forward(self, x):
        return x + self.shift


class Wrong(bench.Adaptation):
    def trains(self, layer, name):
        return True

    def extend(self, block):
        return None


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Silent, "trains nothing but the head of any network"),
        (Broken, "has no attribute 'no_such_thing'"),
        (Unused, "idle trains, but nothing depends on it"),
        (Unseeded, "adds other values the second time"),
        (Wrong, "Wrong.extend must return a module, but returned NoneType"),
    ],
)
def test_each_breach_is_said(kind, said):
    bench.adaptation("mine", lanes=kind.extend is bench.Adaptation.extend)(kind)
    found = check_adaptation(ADAPTATIONS.get("mine"))
    assert any(said in problem for problem in found), found


def test_the_guide_s_own_adaptation_keeps_its_contract(tmp_path):
    guide = (Path(bench.__file__).parent / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```python\n(import bench\n\n\n@bench.adaptation.*?)```", guide, re.DOTALL)
    (tmp_path / "mine.py").write_text(text)
    load_plugin(tmp_path / "mine.py")
    assert check_adaptation(ADAPTATIONS.get("small")) == []


def test_an_adapter_that_wraps_a_block_is_one_class(small_suite, tmp_path):
    class Shifted(bench.Adaptation):
        def trains(self, layer, name):
            return isinstance(layer, Shift)

        def extend(self, block):
            return nn.Sequential(block, Shift(0.0))

    bench.adaptation("shifted", lanes=False)(Shifted)
    assert check_adaptation(ADAPTATIONS.get("shifted")) == []
    entries = ["feature-extraction", {"strategy": "fine-tune", "depths": [1], "adapt": "shifted"}]
    suite = {**small_suite, "measures": [], "strategies": entries, "target_sizes": [20], "lanes": 2}
    bench.run(suite, tmp_path / "out", jobs=0)
    rows = bench.load_results(tmp_path / "out")
    assert set(rows["status"]) == {"ok"}
    counts = rows.groupby("strategy")["trainable_parameters"].first()
    assert counts["fine-tune+shifted"] == counts["feature-extraction"] + 1


def test_one_that_says_nothing_of_parameters_is_refused_where_it_is_declared():
    with pytest.raises(bench.BenchError, match=r"Undefined needs a method trains\(layer, name\)"):
        bench.adaptation("mine")(Undefined)
