"""A user's own kind of task in the shape of a detector's, and a method that learns without labels."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import smooth_l1_loss

import bench

SIDE = 12


@bench.task("spots", classes=("spot",))
def spots(root, *, n=90, size=3, seed=0):
    """A bright square somewhere on a dark image; the target is its box."""
    rng = np.random.default_rng(seed)

    def made(count):
        x, y = rng.random((count, 1, SIDE, SIDE)).astype(np.float32) * 0.3, []
        for image in x:
            top, left = rng.integers(0, SIDE - size, 2)
            image[0, top : top + size, left : left + size] = 1.0
            y.append({"box": np.array([top, left, top + size, left + size], np.float32) / SIDE})
        return x, y

    (x, y), (x_test, y_test) = made(n), made(40)
    return bench.Task(x, y, ["spot"], x_test, y_test, kind="boxes")


class BoxHead(nn.Module):
    """One box an image."""

    def __init__(self, width):
        super().__init__()
        self.box = nn.Linear(width, 4)

    def forward(self, features):
        return [{"box": box} for box in self.box(features)]

    def losses(self, features, targets):
        return {"box": smooth_l1_loss(self.box(features), torch.stack([target["box"] for target in targets]))}


@bench.head("boxes")
class Boxes(bench.Head):
    """A box an example; the network returns its losses."""

    metric, lanes, has_loss = "mean-iou", False, False

    def targets(self, y, classes, where):
        for number, target in enumerate(y):
            if "box" not in target:
                raise bench.BenchError(f"{where}: example {number} has no box")
        return list(y)

    def strata(self, y):
        return np.zeros(len(y), np.int64)

    def outputs(self, classes):
        return 4

    def module(self, width, classes):
        return BoxHead(width)

    def losses(self, outputs, targets):
        raise bench.BenchError("boxes have no loss of their own")

    def predict(self, outputs):
        return outputs

    def constant_loss(self, targets):
        return float("nan")


@bench.metric("mean-iou")
class MeanIoU(bench.Metric):
    """Mean overlap of the predicted and the true box: intersection over union."""

    kinds, bounded, unit = ("boxes",), True, "points"

    def score(self, truth):
        a = np.stack([np.asarray(target["box"].cpu()) for target in truth.predicted])
        b = np.stack([np.asarray(target["box"].cpu()) for target in truth.targets])
        sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
        both, areas = sides.prod(1), [(box[:, 2:] - box[:, :2]).clip(0).prod(1) for box in (a, b)]
        return float((both / (areas[0] + areas[1] - both)).mean())


@bench.method("recover")
class Recover(bench.Method):
    """Tell mean and spread of the inputs from the features: learning without labels."""

    def modules(self, width, classes):
        return {"decoder": nn.Linear(width, 2)}

    def loss(self, step):
        inputs = step.batch.features(0).flatten(1)
        wanted = torch.stack([inputs.mean(1), inputs.std(1)], 1)
        return (step.modules["decoder"](step.batch.features()) - wanted).square().mean()


@bench.task("moons-without-labels")
def unlabelled(root, *, n=200):
    """The moons' inputs alone."""
    from bench.tasks.moons import moons

    labelled = moons(root, n=n)
    return bench.Task(labelled.x, None, (), labelled.x_test, None, kind="unlabelled")
