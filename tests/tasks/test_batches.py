"""Inputs that are mappings of arrays, targets that are lists of mappings, and further test sets."""

import json

import numpy as np
import pytest

from bench.errors import BenchError, DataError
from bench.heads.base import Head, head
from bench.ledger.records import is_well_formed
from bench.registry import CHANGES, HEADS
from bench.tasks import batches
from bench.tasks.base import Task
from bench.tasks.batches import Targets
from bench.tasks.build import card_of, read_task, save_task
from bench.tasks.contract import check_task
from bench.tasks.fit import fit, problem
from bench.training.data import HeldTargets, prepare
from bench.trial import Card, shape_text

N = 40


def words(n=N, seed=0, **more):
    rng = np.random.default_rng(seed)
    x = {"mask": rng.random((n, 5)) < 0.8, "ids": rng.integers(0, 9, (n, 5)), "length": rng.random(n)}
    return Task(x, np.arange(n) % 2, ["low", "high"], **more)


# Mappings ---------------------------------------------------------------------------------------------


def test_a_mapping_is_cut_taken_kept_and_told_apart(tmp_path):
    task = words()
    assert list(task.x) == ["ids", "length", "mask"]
    assert task.shape == (("ids", (5,)), ("length", ()), ("mask", (5,)))
    assert (task.is_image, task.vocabulary) == (False, 0)
    assert task.vocabularies == {"ids": 9, "length": 0, "mask": 0}
    assert (len(task.y), batches.length(task.x_test)) == (28, 12)
    taken = task.take(np.array([3, 9, 0, 1, 6, 4]))
    assert (taken.x["ids"] == task.x["ids"][[3, 9, 0, 1, 6, 4]]).all()
    assert taken.fingerprint != task.fingerprint == words().fingerprint
    assert task.mapped(lambda x: {**x, "length": 2 * x["length"]}).x["length"].max() == 2 * task.x["length"].max()
    save_task(task, tmp_path / "kept")
    back = read_task(tmp_path / "kept")
    assert back.fingerprint == task.fingerprint
    assert isinstance(back.x["ids"], np.memmap)
    assert check_task(words) == []


def test_every_part_of_a_mapping_is_in_the_fingerprint():
    task = words()
    for name in task.x:
        other = {**task.x, name: task.x[name][::-1]}
        assert task.changed(x=other).fingerprint != task.fingerprint
        held = {**task.x_test, name: task.x_test[name][::-1]}
        assert task.changed(x_test=held).fingerprint != task.fingerprint


def test_the_card_of_a_mapping_says_its_inputs():
    card = card_of(words())
    back = Card.from_json(json.loads(json.dumps(card.to_json())))
    assert back == card
    assert card.inputs == (("ids", 9), ("length", 0), ("mask", 0))
    assert shape_text(card.shape) == "ids 5, length 1, mask 5"


@pytest.mark.parametrize(
    ("change", "well"),
    [
        ({}, True),
        ({"shape": [["ids", [5]]]}, False),
        ({"shape": [["ids", ["5"]], ["length", []], ["mask", [5]]]}, False),
        ({"shape": [["ids", [5]], 3, ["mask", [5]]]}, False),
        ({"inputs": [["ids", "many"], ["length", 0], ["mask", 0]]}, False),
        ({"kind": 3}, False),
        ({"further": [["night", 3]]}, True),
        ({"further": [[3, "night"]]}, False),
        ({"further": [["night"]]}, False),
        ({"shape": [[[]]]}, False),
    ],
)
def test_a_ledgers_card_is_checked(change, well):
    record = {"kind": "task", "key": "abc", "card": card_of(words()).to_json() | change}
    assert is_well_formed(json.loads(json.dumps(record))) == well


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({}, "needs an array at least"),
        ({"a.b": np.zeros((4, 2))}, "names of letters, digits and _, got 'a.b'"),
        ({3: np.zeros((4, 2))}, "names of letters, digits and _, got 3"),
        ({"ids": np.zeros((4, 2)), "mask": np.zeros((3, 2))}, "need one length, got 4 ids, 3 mask"),
        ({"ids": np.zeros((3, 2))}, "3 inputs but 4 labels"),
        ({"ids": np.zeros((4, 0))}, '"ids": is empty'),
        ({"ids": np.array([["a"]] * 4)}, '"ids": must hold numbers, got <U1'),
        ({"ids": np.array([[1.0], [np.nan], [2], [3]])}, '"ids": input 1 has NaN or infinite values'),
    ],
)
def test_mappings_that_cannot_be(x, message):
    with pytest.raises(DataError, match=message):
        Task(x, [0, 1, 0, 1], ["a", "b"])


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"ids": np.zeros((2, 3))}, 'the test inputs lack "mask", which the train inputs have'),
        ({"ids": np.zeros((2, 3)), "mask": np.ones((2, 3)), "more": np.ones(2)}, 'test inputs have "more", which the'),
        ({"ids": np.zeros((2, 4)), "mask": np.ones((2, 3))}, r'"ids": train inputs are \(3,\) but test inputs \(4,\)'),
        (
            {"ids": np.zeros((2, 3), int), "mask": np.ones((2, 3))},
            '"ids": train inputs are float64 but test inputs int',
        ),
        (np.zeros((2, 3)), "train inputs are a mapping of ids, mask but test inputs an array"),
    ],
)
def test_parts_of_a_mapping_must_be_alike(held, message):
    x = {"ids": np.ones((4, 3)), "mask": np.ones((4, 3))}
    with pytest.raises(DataError, match=message):
        Task(x, [0, 1, 0, 1], ["a", "b"], held, [0, 1])


def test_mappings_meet_where_they_are_alike():
    one, other = words(), words(seed=1)
    assert fit(other, one.shape) is other
    assert problem((5,), one.shape) == "The target's inputs are a mapping of ids, length, mask, the other's an array."
    assert "a mapping of ids, length, mask, the other's an array" in problem(one.shape, (5,))
    fewer = tuple(part for part in one.shape if part[0] != "mask")
    assert problem(fewer, one.shape) == 'The input "mask" is missing in the source and of shape (5,) in the target.'
    with pytest.raises(DataError, match='The input "mask" is of shape'):
        fit(one, fewer)


@pytest.mark.parametrize("change", ["inversion", "blur", "rotation", "input_noise", "pixel_permutation"])
def test_changes_of_arrays_refuse_mappings(change):
    arguments = {"blur": {"sigma": 1.0}, "rotation": {"degrees": 90}, "input_noise": {"std": 0.1}}.get(change, {})
    with pytest.raises(DataError, match=f"{change}: needs inputs in one array; those of task are a mapping of ids"):
        CHANGES.get(change).function(words(), np.random.default_rng(0), **arguments)


@pytest.mark.parametrize("change", ["label_noise", "classes", "size_limit", "example_half", "imbalance"])
def test_changes_of_labels_and_examples_take_mappings(change):
    arguments = {
        "label_noise": {"rate": 0.5}, "classes": {"keep": ["high", "low"]}, "size_limit": {"examples": 10},
        "imbalance": {"ratio": 2.0},
    }.get(change, {})  # fmt: skip
    made = CHANGES.get(change).function(words(), np.random.default_rng(0), **arguments)
    assert made.fingerprint != words().fingerprint
    assert list(made.x) == ["ids", "length", "mask"]


# Targets that are mappings ----------------------------------------------------------------------------


def boxes(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return [{"boxes": rng.random((k % 4, 4)), "labels": np.arange(k % 4)} for k in range(n)]


@pytest.fixture
def detection():
    @head("boxes")
    class Boxes(Head):
        metric = ""
        lanes = False

        def targets(self, y, classes, where):
            if any(target["boxes"].shape[1:] != (4,) for target in y):
                raise DataError(f"{where}: a box has four corners")
            return [dict(target) for target in y]

        def strata(self, y):
            return np.array([min(len(target["labels"]), 2) for target in y])

        def outputs(self, classes):
            return len(classes)

        def losses(self, outputs, targets):
            raise NotImplementedError

        def predict(self, outputs):
            return outputs

        def constant_loss(self, targets):
            return 0.0

    yield "boxes"
    del HEADS._entries["boxes"]


def test_targets_are_taken_packed_and_unpacked():
    every = Targets(boxes())
    assert len(every) == N
    assert every[3]["boxes"].shape == (3, 4)
    some = every[np.array([3, 0])]
    assert [len(target["labels"]) for target in some] == [3, 0]
    packed = every.packed()
    assert set(packed) == {"boxes", "boxes.shape", "labels", "labels.shape"}
    back = Targets.unpacked(packed)
    assert all((a[name] == b[name]).all() for a, b in zip(every, back, strict=True) for name in ("boxes", "labels"))
    assert [target["boxes"].shape for target in back] == [target["boxes"].shape for target in every]
    nothing = Targets([{"boxes": np.zeros((0, 4))}] * 3)
    assert [t["boxes"].shape for t in Targets.unpacked(nothing.packed())] == [(0, 4)] * 3


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"boxes": np.zeros((1, 4))}, 'the target of example 1 lacks "labels"'),
        ({"boxes": np.zeros(4), "labels": np.zeros(1)}, '"boxes" of example 1 must be numbers on 2 axes'),
        ({"boxes": np.full((1, 4), np.nan), "labels": np.zeros(1)}, '"boxes" of example 1 has NaN'),
        ({"boxes": np.zeros((1, 4)), "labels": np.array(["a"])}, '"labels" of example 1 must be numbers'),
        ({"boxes": np.zeros((1, 4)), "labels": np.zeros(1), "area": 1}, 'the target of example 1 has "area", which'),
        (3, "a target must be a mapping of arrays, got int"),
    ],
)
def test_targets_that_cannot_be(second, message):
    with pytest.raises(DataError, match=message):
        Targets([{"boxes": np.zeros((1, 4)), "labels": np.zeros(1)}, second])


def test_a_task_of_boxes_is_cut_kept_and_held(detection, tmp_path):
    def build():
        x = np.random.default_rng(1).random((N, 1, 6, 6))
        return Task(x, boxes(), ["cat", "dog"], kind="boxes")

    task = build()
    assert isinstance(task.y, Targets)
    assert (len(task.y), len(task.y_test)) == (28, 12)
    assert np.bincount(task.strata).tolist() == [7, 7, 14]  # stratified by what the head says
    assert build().fingerprint == task.fingerprint
    other = boxes()
    other[7]["boxes"][0, 0] += 0.5
    assert Task(np.random.default_rng(1).random((N, 1, 6, 6)), other, ["cat", "dog"], kind="boxes").fingerprint != (
        task.fingerprint
    )
    assert check_task(build) == []
    assert len(task.take(np.arange(5)).y) == 5
    with pytest.raises(DataError, match=r"targets that are mappings \(boxes, labels\) would not follow"):
        fit(task, (1, 3, 3))
    with pytest.raises(DataError, match="rotation: targets that are mappings"):
        CHANGES.get("rotation").function(task, np.random.default_rng(0), 90)
    assert CHANGES.get("blur").function(task, np.random.default_rng(0), 1.0).kind == "boxes"
    save_task(task, tmp_path / "kept")
    back = read_task(tmp_path / "kept")
    assert back.fingerprint == task.fingerprint
    assert back.y[1]["boxes"].shape == task.y[1]["boxes"].shape
    assert card_of(task).class_counts == ()
    with pytest.raises(DataError, match="a box has four corners"):
        Task(task.x, [{"boxes": np.zeros((1, 3)), "labels": np.zeros(1)}] * 28, ["cat", "dog"], kind="boxes")
    with pytest.raises(DataError, match="shuffled_labels: needs targets in an array"):
        CHANGES.get("shuffled_labels").function(task, np.random.default_rng(0))


def test_targets_are_held_as_tensors(detection):
    import torch

    from bench.backbones.base import build

    x, y = np.random.default_rng(1).random((N, 6)), boxes()
    task = Task(x[:30], y[:30], ["cat"], x[30:35], y[30:35], x_val=x[35:], y_val=y[35:], kind="boxes")
    data = prepare(build("mlp", (6,), 2, 0, 0), task, torch.device("cpu"), "boxes", 2**20)
    assert isinstance(data.y, HeldTargets)
    assert (len(data.y), len(data.y_test)) == (35, 5)
    taken = data.y.take(torch.tensor([30, 2]))
    assert [part["boxes"].shape for part in taken] == [(35 % 4, 4), (2, 4)]
    assert torch.equal(data.y[torch.tensor([4, 30])].take(torch.tensor([1]))[0]["boxes"], taken[0]["boxes"])


# Further test sets ------------------------------------------------------------------------------------


def shifted(**more):
    x = np.random.default_rng(0).normal(size=(60, 3))
    night = (x[:10] + 1, np.arange(10) % 2)
    return Task(
        x, np.arange(60) % 2, ["low", "high"], further={"night": night, "rain": (x[:5] - 1, np.zeros(5))}, **more
    )


def test_further_test_sets_are_kept_and_told_apart(tmp_path):
    task = shifted()
    alone = task.changed(further={})
    assert alone.further == {}
    assert task.fingerprint == shifted().fingerprint != alone.fingerprint
    x, y = task.further["night"]
    assert task.changed(further={**task.further, "night": (x, 1 - y)}).fingerprint != task.fingerprint
    assert card_of(task).further == (("night", 10), ("rain", 5))
    assert "further" not in card_of(alone).to_json()
    assert task.take(np.arange(8)).further["night"][0] is x
    save_task(task, tmp_path / "kept")
    back = read_task(tmp_path / "kept")
    assert back.fingerprint == task.fingerprint
    assert (back.further["rain"][0] == task.further["rain"][0]).all()
    assert check_task(shifted) == []


def test_further_test_sets_are_transformed_as_the_others_are():
    from bench.tasks.standardise import standardise

    task = shifted()
    made = standardise(task, task)
    assert made.further["night"][0].mean() > 0.5
    assert made.further["night"][0].dtype == np.float32
    images = Task(np.zeros((8, 1, 4, 4)) + np.arange(8)[:, None, None, None] / 8, np.arange(8) % 2, ["a", "b"],
                  further={"night": (np.zeros((3, 1, 4, 4)), np.zeros(3))})  # fmt: skip
    assert fit(images, (1, 2, 2)).further["night"][0].shape == (3, 1, 2, 2)
    halved = CHANGES.get("classes").function(task, np.random.default_rng(0), ["high", "low"])
    assert (halved.further["night"][1] == 1 - task.further["night"][1]).all()


def test_further_test_sets_are_held_ready():
    import torch

    from bench.backbones.base import build
    from bench.training.cuts import Cuts, Frozen

    task, network = shifted(), build("mlp", (3,), 2, 0, 0).eval()
    data = prepare(network, task, torch.device("cpu"), "shifted", 2**20)
    assert {name: (len(x), len(y)) for name, (x, y) in data.further.items()} == {"night": (10, 10), "rain": (5, 5)}
    frozen = Frozen(Cuts(2**20), "model", network, data, np.arange(len(task.y)), 0, 5)
    assert len(frozen.test(1, "rain")) == 5
    assert len(frozen.test(1)) == len(task.y_test)
    assert torch.equal(frozen.test(1, "night").x, network.run_blocks(data.further["night"][0].x, 0, 1))


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({"night": (np.zeros((3, 2)), np.zeros(3))}, r"train inputs are \(3,\) but test_night inputs \(2,\)"),
        ({"night": (np.zeros((3, 3)), np.full(3, 2))}, "test_night set: label 2 is outside the 2 classes"),
        ({"night": (np.zeros((3, 3)), None)}, "test_night set: has no targets"),
        ({"night": np.zeros((3, 3))}, r'further test set "night" must be \(x, y\), got ndarray'),
        ({"by night": (np.zeros((3, 3)), np.zeros(3))}, "needs a name of letters, digits and _, got 'by night'"),
    ],
)
def test_further_test_sets_that_cannot_be(further, message):
    with pytest.raises(BenchError, match=message):
        shifted().changed(further=further)
