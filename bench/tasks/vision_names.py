"""torchvision's classification data sets, as data: what tells their parts apart, and what they lack.

No torch here: naming a data set, listing it and checking a suite that asks for it must stay cheap.
A test holds this table against the installed torchvision: every class, every argument, none missing.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIGITS = tuple(string.digits)
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
FACES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIGNS = tuple(str(number) for number in range(43))


@dataclass(frozen=True)
class VisionFacts:
    """What must be known of one torchvision data set beside its class.

    Attributes
    ----------
    about : str
        One line for `ntbench list`.
    key : str, optional
        The class's argument that selects a part; None where there is one part only.
    train, test
        Values of `key` for the train pool and the test set; `test` is None where the data set has no
        test part with the train part's classes and labels: the protocol then cuts one.
    alone : tuple
        Other values of `key` that a user may choose and that come without a test part.
    arguments : mapping
        Further arguments of the class that a user may set, with their defaults.
    choice : mapping
        Arguments that the class does not take and `labels` and `names` read, with their defaults.
    channels : int
        1 (grey) or 3 (RGB).
    image_size : int, optional
        Side that images are resized to unless the user says otherwise; None where they have one size.
    layout : str, optional
        Axes of the array `dataset.data`, where the class keeps all images in one; "W" before "H" where
        the files hold them transposed.
    classes : sequence of str or callable, optional
        Class names where they do not depend on the files; a callable takes the user's arguments.
    names : str or callable, optional
        Where the class has its class names: an attribute, or a function of (dataset, arguments). None where
        it has none: the labels themselves are then the names.
    labels : str or callable, optional
        Where all labels can be had without decoding an image: likewise.
    unordered : bool
        Whether the class numbers its classes in the order in which the file system lists them.
    needs : tuple of str
        Packages needed besides this one's dependencies.
    downloads : bool
        Whether torchvision still can download it.
    flat : bool
        Whether the files lie right in the data root; a folder of the data set's name is then looked in first.
    rooted : bool
        Whether the class takes a root at all.
    sized : bool
        Whether the class draws its images itself, at the (C, H, W) in its own argument `image_size`.
    """

    about: str
    key: str | None = None
    train: Any = None
    test: Any = None
    alone: tuple[Any, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 3
    image_size: int | None = 64
    layout: str | None = None
    classes: Sequence[str] | Callable[..., Sequence[str]] | None = None
    names: str | Callable[[Any, Mapping[str, Any]], Sequence[str]] | None = "classes"
    labels: str | Callable[[Any, Mapping[str, Any]], Any] | None = None
    unordered: bool = False
    needs: tuple[str, ...] = ()
    downloads: bool = True
    flat: bool = False
    rooted: bool = True
    sized: bool = False


def emnist_classes(split: str = "balanced", **_: Any) -> tuple[str, ...]:
    """Class names of an EMNIST split (Cohen et al. 2017, table II); none for an unknown split."""
    merged = set("cijklmopsuvwxyz")
    balanced = tuple(sorted(set(string.digits + string.ascii_letters) - merged))
    known = {
        "byclass": tuple(sorted(string.digits + string.ascii_letters)),
        "bymerge": balanced,
        "balanced": balanced,
        "letters": tuple(string.ascii_lowercase),
        "digits": DIGITS,
        "mnist": DIGITS,
    }
    return known.get(split, ())


def celeba_classes(attribute: str = "Smiling", **_: Any) -> tuple[str, ...]:
    """Class names of one of CelebA's attributes."""
    return (f"not {attribute}", attribute)


def _celeba_labels(dataset: Any, arguments: Mapping[str, Any]) -> Any:
    return dataset.attr[:, dataset.attr_names.index(arguments["attribute"])]


def _pet_names(dataset: Any, arguments: Mapping[str, Any]) -> Sequence[str]:
    return dataset.bin_classes if arguments["target_types"] == "binary-category" else dataset.classes


def _pet_labels(dataset: Any, arguments: Mapping[str, Any]) -> Any:
    return dataset._bin_labels if arguments["target_types"] == "binary-category" else dataset._labels


def _inaturalist_names(dataset: Any, arguments: Mapping[str, Any]) -> Sequence[str]:
    kind = arguments["target_type"]
    if kind == "full":
        return dataset.all_categories
    index = dataset.categories_index[kind]
    return sorted(index, key=index.__getitem__)


def _sample_labels(dataset: Any, _: Mapping[str, Any]) -> Any:
    return [label for _, label in dataset._samples]


def _lsun_labels(dataset: Any, _: Mapping[str, Any]) -> Any:
    return [label for label, part in enumerate(dataset.dbs) for _ in range(len(part))]


def _lsun_names(dataset: Any, _: Mapping[str, Any]) -> Sequence[str]:
    return [name.rpartition("_")[0] for name in dataset.classes]


def _identities(dataset: Any, _: Mapping[str, Any]) -> Sequence[str]:
    return sorted(dataset.class_to_idx, key=dataset.class_to_idx.__getitem__)


def _mnist_like(about: str, classes: Any = DIGITS, **facts: Any) -> VisionFacts:
    """Facts of a class that keeps N x H x W bytes in `.data` and labels in `.targets`."""
    common = {"key": "train", "train": True, "test": False, "channels": 1, "image_size": None, "layout": "NHW"}
    return VisionFacts(about, classes=classes, labels="targets", **{**common, **facts})


def _split(about: str, test: Any = "test", train: Any = "train", **facts: Any) -> VisionFacts:
    """Facts of a class whose argument `split` selects the part."""
    return VisionFacts(about, key="split", train=train, test=test, **facts)


VISION: dict[str, VisionFacts] = {
    "MNIST": _mnist_like("handwritten digits, 28 x 28"),
    "FashionMNIST": _mnist_like("articles of clothing, 28 x 28", FASHION),
    "KMNIST": _mnist_like("cursive Japanese characters, 28 x 28", KUZUSHIJI),
    "EMNIST": _mnist_like(
        "handwritten digits and letters, 28 x 28, turned upright (the files hold them transposed)",
        emnist_classes,
        arguments={"split": "balanced"},
        layout="NWH",
    ),
    "QMNIST": _mnist_like("MNIST's digits with a test set of 60000", key="what", train="train", test="test"),
    "USPS": _mnist_like("digits from envelopes, 16 x 16", flat=True),
    "SEMEION": VisionFacts(
        "handwritten digits of 80 persons, 16 x 16, black and white",
        channels=1,
        image_size=None,
        layout="NHW",
        classes=DIGITS,
        labels="labels",
        flat=True,
    ),
    "SVHN": _split(
        "house numbers, 32 x 32", image_size=None, layout="NCHW", classes=DIGITS, labels="labels", flat=True
    ),
    "CIFAR10": _mnist_like("photographs of 10 kinds, 32 x 32", CIFAR, channels=3, layout="NHWC"),
    "CIFAR100": _mnist_like("photographs of 100 kinds, 32 x 32", None, channels=3, layout="NHWC"),
    "STL10": _split(
        "photographs of 10 kinds, 96 x 96",
        arguments={"folds": None},
        image_size=None,
        layout="NCHW",
        classes=STL,
        labels="labels",
    ),
    "Caltech101": VisionFacts("photographs of 101 kinds of object", names="categories", labels="y"),
    "Caltech256": VisionFacts("photographs of 256 kinds of object and clutter", names="categories", labels="y"),
    "CelebA": _split(
        "faces of celebrities, by one of 40 attributes",
        choice={"attribute": "Smiling"},
        classes=celeba_classes,
        names=lambda _, arguments: celeba_classes(**arguments),
        labels=_celeba_labels,
    ),
    "CLEVRClassification": _split("rendered scenes, by the number of objects", test="val", names=None),
    "Country211": _split("photographs, by the country they were taken in"),
    "DTD": _split("describable textures", arguments={"partition": 1}),
    "EuroSAT": VisionFacts("land use seen from Sentinel-2, 64 x 64", image_size=None),
    "FakeData": VisionFacts(
        "random images with random labels",
        arguments={"size": 1000, "num_classes": 10, "random_offset": 0},
        names=lambda _, arguments: [str(label) for label in range(arguments["num_classes"])],
        downloads=False,
        rooted=False,
        sized=True,
    ),
    "FER2013": _split(
        "facial expressions, 48 x 48",
        channels=1,
        image_size=None,
        classes=FACES,
        labels=_sample_labels,
        downloads=False,
    ),
    "FGVCAircraft": _split("aircraft", train="trainval", arguments={"annotation_level": "variant"}),
    "Flowers102": _split("flowers of 102 kinds"),
    "Food101": _split("dishes of 101 kinds"),
    "GTSRB": _split("German traffic signs", classes=SIGNS, labels=_sample_labels),
    "ImageNet": _split("ImageNet 2012, 1000 kinds", test="val", downloads=False, flat=True),
    "Imagenette": _split("ten easy kinds of ImageNet", test="val", arguments={"size": "full"}),
    "INaturalist": VisionFacts(
        "plants and animals",
        key="version",
        train="2021_train",
        test="2021_valid",
        alone=("2017", "2018", "2019"),
        arguments={"target_type": "full"},
        names=_inaturalist_names,
        flat=True,
    ),
    # Train and test folds share no person, so one cannot be trained to name those of the other.
    "LFWPeople": _split(
        "faces, by person",
        test=None,
        train="10fold",
        arguments={"image_set": "funneled"},
        names=_identities,
        downloads=False,
    ),
    "LSUN": VisionFacts(
        "scenes and rooms",
        key="classes",
        train="train",
        test="val",
        names=_lsun_names,
        labels=_lsun_labels,
        needs=("lmdb",),
        downloads=False,
        flat=True,
    ),
    # The "evaluation" alphabets are others than the "background" ones.
    "Omniglot": VisionFacts(
        "handwritten characters of 50 alphabets, 105 x 105",
        key="background",
        train=True,
        test=None,
        channels=1,
        image_size=None,
        names="_characters",
        unordered=True,
    ),
    "OxfordIIITPet": _split(
        "cats and dogs, by breed",
        train="trainval",
        arguments={"target_types": "category"},
        names=_pet_names,
        labels=_pet_labels,
    ),
    "PCAM": _split("patches of lymph nodes, 96 x 96", image_size=None, classes=("normal", "tumor"), needs=("h5py",)),
    "Places365": _split(
        "scenes of 365 kinds", train="train-standard", test="val", arguments={"small": False}, flat=True
    ),
    "RenderedSST2": _split("sentences drawn as images, by sentiment", classes=("negative", "positive")),
    "StanfordCars": _split("cars of 196 models", downloads=False),
    "SUN397": VisionFacts("scenes of 397 kinds"),
}

VISION_NAMES: tuple[str, ...] = tuple(VISION)
