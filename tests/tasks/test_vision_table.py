"""The static table of torchvision's data sets against the installed torchvision."""

import inspect
import subprocess
import sys

import pytest

from bench.registry import TASKS
from bench.tasks.vision_names import VISION, VISION_NAMES

# What torchvision.datasets offers besides, and why it is no image classification task of its own.
OTHERS = {
    "base classes; a folder of one's own is the task image-folder": "VisionDataset DatasetFolder ImageFolder",
    "one category of LSUN": "LSUNClass",
    "captions": "CocoCaptions Flickr8k Flickr30k SBU",
    "detection": "CocoDetection Kitti VOCDetection WIDERFace",
    "segmentation": "Cityscapes SBDataset VOCSegmentation",
    "pairs of images": "LFWPairs PhotoTour",
    "video": "HMDB51 Kinetics MovingMNIST UCF101",
    "optical flow": "FlyingChairs FlyingThings3D HD1K KittiFlow Sintel",
    "stereo": "CREStereo CarlaStereo ETH3DStereo FallingThingsStereo InStereo2k Kitti2012Stereo Kitti2015Stereo "
    "Middlebury2014Stereo SceneFlowStereo SintelStereo",
}

# Arguments of classes that a suite cannot give: what is ours to say, and what would make another kind of target.
OURS = {"root", "transform", "target_transform", "transforms", "download", "loader", "is_valid_file", "allow_empty"}
NOT_OFFERED = {
    "CelebA": {"target_type"},
    "Caltech101": {"target_type"},
    "FakeData": {"image_size"},
    "QMNIST": {"compat", "train"},
}


def dataset_class(name):
    import torchvision

    cls = getattr(torchvision.datasets, name, None)
    if cls is None:
        pytest.skip(f"{name} NOT CHECKED: torchvision {torchvision.__version__} does not have it")
    return cls


def test_no_classification_data_set_is_missing():
    import torchvision

    classes = {n for n in torchvision.datasets.__all__ if inspect.isclass(getattr(torchvision.datasets, n, None))}
    others = {name for names in OTHERS.values() for name in names.split()}
    assert not others & set(VISION_NAMES)
    assert classes - others - set(VISION_NAMES) == set()


@pytest.mark.parametrize("name", VISION_NAMES)
def test_the_class_takes_the_arguments_of_the_table(name):
    from bench.tasks.vision_parts import class_arguments

    facts, known = VISION[name], class_arguments(dataset_class(name))
    own = set(facts.arguments) | ({facts.key} if facts.key else set())
    assert own <= set(known)
    # The other way round: nothing that the class offers goes unnoticed.
    assert set(known) - own - OURS - NOT_OFFERED.get(name, set()) == set()
    assert ("root" in known) == facts.rooted
    if facts.downloads:
        assert "download" in known


@pytest.mark.parametrize("name", VISION_NAMES)
def test_defaults_of_the_table_are_the_classes_own(name):
    from bench.tasks.vision_parts import class_arguments

    known = class_arguments(dataset_class(name))
    for argument, default in VISION[name].arguments.items():
        theirs = known[argument].default
        assert theirs is inspect.Parameter.empty or theirs == default


@pytest.mark.parametrize("name", VISION_NAMES)
def test_the_task_is_registered_with_what_a_suite_may_say(name):
    entry, facts = TASKS.get(name), VISION[name]
    expected = {"image_size", "limit", "download", *facts.arguments, *facts.choice}
    if facts.key not in (None, "train"):
        expected.add(facts.key)
    assert set(entry.parameters) == expected
    assert not entry.accepts_any
    assert entry.summary.startswith(f"torchvision's {name}: ")


def test_names_and_arguments_are_known_without_torch():
    code = (
        "import sys; from bench.registry import TASKS; TASKS.names(); TASKS.get('EMNIST').problems({'split': 'x'}); "
        "TASKS.get('image-folder'); import bench.tasks.fit; "
        "print(sorted({'torch', 'torchvision', 'pandas', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
