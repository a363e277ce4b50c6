"""``ntbench new``: files to start from, each of which runs as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and hyphens.", show_default=False)]
Into = Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where it is written.")]

PAIR = """\
# Does starting from a model trained on "{name}-source" hurt "{name}-target", and how much?
#
#   ntbench check {file} --data     every mistake at once
#   ntbench show '{name}-source->{name}-target' --suite {file}
#   ntbench plan  {file}            how many trials, how long
#   ntbench run   {file}            about a minute on two cores as it stands

backbones    = ["cnn"]                                  # ntbench list backbones
strategies   = ["feature-extraction", "fine-tune"]      # ntbench list strategies; scratch is always added
target_sizes = [50]                                     # labelled target examples in all, or "5 per class", "all"
seeds        = 3                                        # 10 give intervals worth printing
image_size   = 16                                       # every image is brought to 16 x 16
{plugins}
[tasks]
# Put your own in place of these two (paths are relative to this file):
#   {{ folder = "data/xrays", image_size = 64 }}          one folder of images per class, or of train/, val/, test/
#   {{ npz = "data/mine.npz" }}                           x and y, perhaps x_val, x_test, ...; or MedMNIST's names
#   {{ table = "data/mine.csv", label = "species" }}      rows of numbers; use backbones = ["mlp"]
{name}-source = {{ task = "{source}" }}
{name}-target = {{ task = "digits" }}
# A hostile version of the source, as a control that harm is found (ntbench list changes):
{name}-hostile = {{ task = "{name}-source", shuffled_labels = true }}

[[pairs]]
sources = ["{name}-source", "{name}-hostile"]
target  = "{name}-target"
"""

TASK = '''\
"""A task of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import numpy as np

import bench


@bench.task("{name}", version=1)  # raise the version when the data change
def {function}(root, *, n=600):  # further arguments can be set in a suite: {{ task = "{name}", n = 900 }}
    rng = np.random.default_rng(0)  # put your own data here; root is the folder of data sets
    y = rng.integers(0, 2, n)
    x = rng.integers(0, 128, (n, 1, 16, 16)).astype("uint8")  # N x C x H x W, or N x D for tables
    x[y == 1, :, 4:12, 4:12] += 100  # the second class has a bright square
    return bench.Task(x, y, classes=["plain", "square"])  # test set: cut by the protocol unless given
'''

STRATEGY = '''\
"""A strategy of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import bench


@bench.strategy("{name}")
def {function}(depth, *, copied_lr=None):
    """Copy the first k blocks of L = depth, freeze half of them, train the rest: (k, k // 2) for every k."""
    for k in range(1, depth + 1):
        yield bench.point("{name}", k, k // 2, copied_lr=copied_lr)
'''

METHOD = '''\
"""A method of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import bench


@bench.method("{name}", version=1, lanes=True, copied=True)  # raise the version when its results change
class {function}(bench.Method):
    """Keep features near those of the start: pull copied weights back, each block by its own norm."""

    def __init__(self, *, alpha=0.01):  # in a suite: method = {{ name = "{name}", alpha = 0.1 }}
        self.alpha = alpha

    def loss(self, step):  # with lanes=True tensors have a leading axis of lanes: sum over all other axes only
        far = sum(
            (parameter.now - parameter.start).flatten(1).norm(dim=1) for parameter in step.copied()
        )
        return step.batch.loss() + self.alpha * far
'''

ADAPTATION = '''\
"""An adaptation of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import bench


@bench.adaptation("{name}", version=1)  # raise the version when its results change
class {function}(bench.Adaptation):
    """Train biases and normalisation, and weights with fewer than `below` values."""

    def __init__(self, *, below=200):  # in a suite: adapt = {{ name = "{name}", below = 500 }}
        self.below = below

    def trains(self, layer, name):  # asked of every parameter of the blocks; heads always train
        return getattr(layer, name).numel() < self.below
'''

BACKBONE = '''\
"""A backbone of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

from torch import nn

import bench


@bench.backbone("{name}", version=1)  # raise the version when the network changes
def {function}(shape, *, width=16):  # further arguments can be set in a suite: {{ backbone = "{name}", width = 32 }}
    """Two convolutions and a hidden layer, for images of any size."""
    return nn.Sequential(  # each module with weights is a block, the others belong to the block before them
        nn.Conv2d(shape[0], width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # shape is (C, H, W)
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, width), nn.ReLU(),
    )  # the harness adds the head: no classifier here
'''

MEASURE = '''\
"""A measure of similarity of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import numpy as np

import bench


@bench.measure("{name}", version=1)  # raise the version when its values change
def {function}(view):
    """Distance between the mean features of source and target under the source model; 0 is near."""
    source, target = view.source_features, view.target_features  # M x width and N x width, of train examples
    return float(np.linalg.norm(source.mean(0) - target.mean(0)))
'''

CHANGE = '''\
"""A change to tasks of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import numpy as np

import bench


@bench.change("{function}", version=1)  # raise the version when its results change
def {function}(task, rng, *, share=0.2):  # in a suite: {{ task = "digits", {function} = 0.5 }}
    """Blank a random share of all values."""

    def blanked(x):
        return np.where(rng.random(x.shape) < share, x.dtype.type(0), x)

    return task.changed(x=blanked(task.x), x_test=blanked(task.x_test))  # never in place
'''

WEIGHTING = '''\
"""A weighting of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

from bench.weighting import ByRule, weighting


@weighting("{name}")
def {function}(facts, *, sharpness=1.0):  # in a suite: {{ weighting = "{name}", sharpness = 2 }}
    """Weight source examples by exp(-sharpness x loss): the easy ones more."""

    class Easy(ByRule):
        def raw(self, step, losses):  # both of shape (lanes, batch); the harness makes each lane add up to 1
            return (-sharpness * losses).exp()

    return Easy(facts)
'''

METRIC = '''\
"""A metric of your own. Try it: ntbench check {file}; name it in a suite: plugins = ["{file}"]."""

import numpy as np

import bench


@bench.metric("{name}", version=1)  # raise the version when its values change
class {function}(bench.Metric):
    """Accuracy on the rarest class that the test set has."""

    kinds = ("single-label",)  # the kinds of task that it judges
    bounded = True  # within -1 to 1; else say unit = "..." too, and a suite must say [statistics] margin

    def score(self, truth):  # truth.targets, .predicted: (N,); .scores: log-probabilities (N, K); .classes: K names
        counts = np.bincount(truth.targets, minlength=len(truth.classes))
        rarest = np.where(counts > 0, counts, counts.max() + 1).argmin()
        return float((truth.predicted == rarest)[truth.targets == rarest].mean())  # more is better
'''


def pair(
    name: Name,
    folder: Into = Path(),
    with_task: Annotated[bool, typer.Option("--task", help="Also write a task of your own as a plug-in.")] = False,
) -> None:
    """Write NAME.toml: a suite for a pair of your own, which runs as it is."""
    file = _path(folder, name, ".toml")
    plugins, source = "", "printed-digits"
    if with_task:
        own = _path(folder, f"{name}-task".replace("-", "_"), ".py")
        _write(own, _task_text(f"{name}-task", own))
        plugins, source = f'plugins      = ["{own.name}"]\n', f"{name}-task"
    _write(file, PAIR.format(name=name, file=file, plugins=plugins, source=source))
    print(f"next: ntbench check {file} --data; ntbench run {file}")


def task(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a task of your own in ten lines."""
    file = _path(folder, name.replace("-", "_"), ".py")
    _write(file, _task_text(name, file))
    print(f"next: ntbench check {file}; ntbench show {name} --plugin {file}")


def strategy(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a strategy of your own."""
    _plugin(name, folder, STRATEGY, f'strategies = ["{name}"]')


def method(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a method of your own, which says what a step minimises."""
    used = f'strategies = [{{ strategy = "fine-tune", method = "{name}" }}]'
    _plugin(name, folder, METHOD, used, _identifier(name).title().replace("_", ""))


def adaptation(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: an adaptation of your own, which says what trains."""
    used = f'strategies = [{{ strategy = "fine-tune", adapt = "{name}" }}]'
    _plugin(name, folder, ADAPTATION, used, _identifier(name).title().replace("_", ""))


def backbone(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a backbone of your own."""
    _plugin(name, folder, BACKBONE, f'backbones = ["{name}"]')


def measure(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a measure of similarity of your own."""
    _plugin(name, folder, MEASURE, f'measures = ["{name}"]')


def change(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a change to tasks of your own."""
    used = f'{{ task = "digits", {_identifier(name)} = 0.5 }}'
    _plugin(name, folder, CHANGE, f"and in [tasks]: mine = {used}")


def weighting(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a weighting of source examples of your own."""
    _plugin(name, folder, WEIGHTING, f'weighting = ["{name}"]')


def metric(name: Name, folder: Into = Path()) -> None:
    """Write NAME.py: a metric of your own, which judges predictions."""
    _plugin(name, folder, METRIC, f'metric = "{name}"', _identifier(name).title().replace("_", ""))


def _plugin(name: str, folder: Path, text: str, used: str, function: str | None = None) -> None:
    """Write a plug-in from its template, and say how a suite uses what it registers."""
    file = _path(folder, name.replace("-", "_"), ".py")
    _write(file, text.format(name=name, file=file.name, function=function or _identifier(name)))
    print(f'next: ntbench check {file}; then in a suite: plugins = ["{file.name}"], {used}')


def _task_text(name: str, file: Path) -> str:
    return TASK.format(name=name, file=file.name, function=_identifier(name))


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _path(folder: Path, name: str, suffix: str) -> Path:
    """Return where a scaffold goes.

    Raises
    ------
    BenchError
        For a name that cannot be a file, a task and a Python name at once, or one that is taken.
    """
    from bench.errors import BenchError

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise BenchError(f'"{name}" is no name for a file and a task: use letters, digits and hyphens, a letter first')
    path = folder / f"{name}{suffix}"
    if path.exists():
        raise BenchError(f"{path} is there already; choose another name or --folder")
    return path


def _write(path: Path, text: str) -> None:
    from bench.errors import StoreError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}")
