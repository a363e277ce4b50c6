"""Torchvision's data sets as tasks, on tiny files laid out as torchvision expects them."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import vision_layouts as layouts
from vision_layouts import TEST, TRAIN, WRITERS, shade

from bench.errors import BenchError, DataError
from bench.registry import TASKS, known_classes
from bench.tasks.base import Task
from bench.tasks.vision_names import VISION

DATA = Path(os.environ.get("NTBENCH_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def no_checksums(monkeypatch):
    """Let torchvision take files that are there for those that it published."""
    import torchvision

    def present(path, md5=None):
        return os.path.isfile(path)

    for name, module in list(sys.modules.items()):
        if name.startswith(torchvision.datasets.__name__) and hasattr(module, "check_integrity"):
            monkeypatch.setattr(module, "check_integrity", present)


def make(root, name, **arguments):
    return TASKS.get(name).function(root, **arguments)


def write(root, name):
    for package in VISION[name].needs:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{name} NOT TESTED: it needs the package {package}, which is not installed")
    WRITERS[name](root, name)


def first_shades(task, x):
    return x[:, 0, 0, 0].astype(int)


def expected_classes(name):
    """Names of the classes that the layouts write, where the table or the files decide."""
    return {
        "CIFAR100": ("apple", "bear", "cup"),
        "Caltech101": ("accordion", "airplanes", "anchor"),
        "Caltech256": ("001.ak47", "002.flag"),
        "CLEVRClassification": ("3", "4", "5"),
        "Country211": ("AD", "AE", "AF"),
        "DTD": ("banded", "blotchy", "braided"),
        "EuroSAT": ("AnnualCrop", "Forest", "River"),
        "FGVCAircraft": ("707-320", "A300B4", "An-12"),
        "Flowers102": ("pink primrose", "hard-leaved pocket orchid", "canterbury bells"),
        "Food101": ("apple_pie", "baklava", "bibimbap"),
        "ImageNet": ("tench, Tinca tinca", "crane", "crane (2)"),
        "Imagenette": ("tench, Tinca tinca", "English springer, English springer spaniel", "cassette player"),
        "INaturalist": tuple(
            f"{k:05d}_Animalia_Chordata_{c}_o_f_g_s{k}" for k, c in enumerate(["Aves", "Aves", "Mammalia"])
        ),
        "LFWPeople": ("Ada_Byron", "Alan_Turing", "Grace_Hopper"),
        "LSUN": layouts.ROOMS,
        "Omniglot": ("Latin/character01", "Latin/character02", "Tifinagh/character01"),
        "OxfordIIITPet": ("Abyssinian", "American Bulldog", "Bengal"),
        "Places365": ("/a/airfield", "/a/alley", "/b/bar"),
        "StanfordCars": ("AM General Hummer", "Acura RL", "Acura TL"),
        "SUN397": ("abbey", "alley", "bar/indoor"),
    }.get(name) or known_classes(name, {})


# Shades that are not `shade`.
SPECIAL = {"SEMEION", "LSUN"}


@pytest.mark.parametrize("name", WRITERS)
def test_reads_images_labels_and_parts(tmp_path, no_checksums, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # LSUN leaves a cache where it is run
    write(tmp_path, name)
    task = make(tmp_path, name)
    facts = VISION[name]
    assert isinstance(task, Task)
    assert task.name == name
    assert task.x.dtype == np.uint8
    assert task.shape[0] == facts.channels
    if facts.image_size is not None:
        assert task.shape[1:] == (facts.image_size, facts.image_size)
    assert task.classes == expected_classes(name)
    present = np.unique(np.concatenate([task.y, task.y_test]))
    total = len(task.y) + len(task.y_test)
    if facts.test is None:
        assert total == TRAIN * len(present)
    elif name != "Flowers102":  # which has a third part
        assert np.bincount(task.y)[present].tolist() == [TRAIN] * len(present)
        assert np.bincount(task.y_test)[present].tolist() == [TEST] * len(present)
    if name not in SPECIAL:
        for x, y, test in ((task.x, task.y, False), (task.x_test, task.y_test, facts.test is not None)):
            assert (x.min((1, 2, 3)) == [shade(label, test) for label in y]).all()


def test_every_name_has_a_layout():
    assert set(VISION) - set(WRITERS) == {"FakeData"}


def test_semeion_keeps_rows_and_columns_apart(tmp_path, no_checksums):
    write(tmp_path, "SEMEION")
    task = make(tmp_path, "SEMEION")
    assert ((task.x[:, 0] == 255).all(2).sum(1) == task.y + 1).all()


def test_semeion_does_not_download_unless_asked(tmp_path, monkeypatch):
    import torchvision

    def refuse(*_, **__):
        raise AssertionError("downloaded")

    monkeypatch.setattr(torchvision.datasets.semeion, "download_url", refuse)
    with pytest.raises(DataError, match="download = true") as caught:
        make(tmp_path, "SEMEION")
    assert "downloaded" not in str(caught.value)


def test_emnist_letters_drop_the_empty_class_and_stand_upright(tmp_path, no_checksums):
    layouts.emnist(tmp_path, "EMNIST")
    task = make(tmp_path, "EMNIST", split="letters")
    assert task.classes == tuple("abcdefghijklmnopqrstuvwxyz") == known_classes("EMNIST", {"split": "letters"})
    assert sorted(set(task.y)) == [0, 1, 2]
    assert (task.x[:, 0, 20, 3] == 255).all()
    assert (task.x[:, 0, 3, 20] != 255).all()


@pytest.mark.parametrize("split", ["byclass", "bymerge", "balanced", "letters", "digits", "mnist"])
def test_emnist_class_names_are_torchvisions(split):
    from torchvision.datasets import EMNIST

    assert list(known_classes("EMNIST", {"split": split})) == [
        c for c in EMNIST.classes_split_dict[split] if c != "N/A"
    ]


@pytest.mark.parametrize("name", ["FashionMNIST", "KMNIST", "MNIST", "QMNIST"])
def test_static_class_names_are_torchvisions(name):
    import torchvision

    theirs = [c.partition(" - ")[0] for c in getattr(torchvision.datasets, name).classes]
    assert list(known_classes(name, {})) == theirs


def test_a_list_of_parts_is_joined(tmp_path, no_checksums):
    write(tmp_path, "Flowers102")
    alone = make(tmp_path, "Flowers102")
    joined = make(tmp_path, "Flowers102", split=["train", "val"])
    assert len(alone.y) == 12
    assert len(joined.y) == 18
    assert np.array_equal(joined.x[:12], alone.x)
    assert np.array_equal(joined.x_test, alone.x_test)


def test_the_test_part_cannot_be_trained_on(tmp_path, no_checksums):
    write(tmp_path, "SVHN")
    with pytest.raises(DataError, match=r'split = "test" is the test set'):
        make(tmp_path, "SVHN", split=["train", "test"])


def test_an_unknown_part_is_said_by_name(tmp_path, no_checksums):
    write(tmp_path, "SVHN")
    with pytest.raises(DataError, match="Unknown value 'trian'"):
        make(tmp_path, "SVHN", split="trian")


def test_labels_chosen_by_an_argument(tmp_path, no_checksums):
    for name in ("OxfordIIITPet", "INaturalist", "CelebA"):
        WRITERS[name](tmp_path, name)
    binary = make(tmp_path, "OxfordIIITPet", target_types="binary-category")
    assert binary.classes == ("Cat", "Dog")
    assert ((binary.x.max((1, 2, 3)) == shade(1)) == (binary.y == 1)).all()
    kinds = make(tmp_path, "INaturalist", target_type="class")
    assert kinds.classes == ("Aves", "Mammalia")
    assert ((kinds.x.max((1, 2, 3)) == shade(2)) == (kinds.y == 1)).all()
    young = make(tmp_path, "CelebA", attribute="Young")
    assert young.classes == ("not Young", "Young") == known_classes("CelebA", {"attribute": "Young"})
    assert ((young.x.max((1, 2, 3)) == shade(0)) == (young.y == 1)).all()
    with pytest.raises(DataError, match="Bald"):
        make(tmp_path, "CelebA", attribute="Bald")


def test_inaturalist_of_another_year_has_its_test_set_cut(tmp_path, no_checksums):
    kinds = ("Aves/0", "Aves/1")
    layouts.folders(tmp_path, {False: "2018"}, kinds, ".jpg")
    task = make(tmp_path, "INaturalist", version="2018")
    assert task.classes == kinds
    assert len(task.y) + len(task.y_test) == 2 * TRAIN


@pytest.mark.parametrize("name", ["MNIST", "DTD", "GTSRB", "CIFAR10"])
def test_limit_reads_a_stratified_part(tmp_path, no_checksums, name):
    write(tmp_path, name)
    task = make(tmp_path, name, limit=6)
    assert np.bincount(task.y)[:3].tolist() == [2, 2, 2]
    assert len(task.y_test) == 6
    assert (task.x.min((1, 2, 3)) == [shade(label) for label in task.y]).all()
    assert make(tmp_path, name, limit=6).fingerprint == task.fingerprint
    assert make(tmp_path, name, limit=10**6).fingerprint == make(tmp_path, name).fingerprint


def test_image_size_resizes_arrays_and_files(tmp_path, no_checksums):
    for name in ("MNIST", "DTD", "FER2013"):
        write(tmp_path, name)
        task = make(tmp_path, name, image_size=9)
        assert task.shape[1:] == (9, 9)
        assert (task.x.max((1, 2, 3)) == [shade(label) for label in task.y]).all()


def test_fake_data_is_drawn_at_the_size_asked_for(tmp_path):
    task = make(tmp_path / "none", "FakeData", size=60, num_classes=3, image_size=8)
    assert task.shape == (3, 8, 8)
    assert task.classes == ("0", "1", "2")
    assert len(task.y) + len(task.y_test) == 60
    assert task.fingerprint == make(tmp_path, "FakeData", size=60, num_classes=3, image_size=8).fingerprint


def test_omniglot_does_not_depend_on_the_order_of_the_file_system(tmp_path, no_checksums, monkeypatch):
    write(tmp_path, "Omniglot")
    expected = make(tmp_path, "Omniglot").fingerprint
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": sorted(real(path), reverse=True))
    assert make(tmp_path, "Omniglot").fingerprint == expected


def test_missing_root_and_missing_files_say_where_and_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"no data root at .*nowhere.*download = true"):
        make(tmp_path / "nowhere", "MNIST")
    for name in ("MNIST", "CIFAR10", "DTD", "USPS", "Places365"):
        with pytest.raises(DataError) as caught:
            make(tmp_path, name)
        assert str(tmp_path) in str(caught.value)
        assert "download = true" in str(caught.value)
        assert "download=True" not in str(caught.value)
    with pytest.raises(DataError, match="torchvision cannot download it"):
        make(tmp_path, "ImageNet", download=True)


@pytest.mark.parametrize("name", ["LSUN", "PCAM"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n in ("lmdb", "h5py") else real(n, *a))
    with pytest.raises(DataError, match=f"pip install {VISION[name].needs[0]}"):
        make(tmp_path, name)


def test_a_damaged_image_is_named(tmp_path, no_checksums):
    write(tmp_path, "DTD")
    victim = next((tmp_path / "dtd/dtd/images/blotchy").glob("p*.jpg"))
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(DataError, match=victim.name):
        make(tmp_path, "DTD")
    victim.unlink()
    with pytest.raises(DataError, match=victim.name):
        make(tmp_path, "DTD")


def test_a_damaged_image_of_a_class_without_loader_is_placed(tmp_path, no_checksums):
    write(tmp_path, "GTSRB")
    victim = next((tmp_path / "gtsrb/GTSRB/Training/00001").glob("*.ppm"))
    victim.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"GTSRB, example \d+"):
        make(tmp_path, "GTSRB")


def test_damaged_arrays_are_a_data_error(tmp_path):
    layouts.mnist(tmp_path, "MNIST")
    victim = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    victim.write_bytes(victim.read_bytes()[:500])
    with pytest.raises(DataError, match="MNIST"):
        make(tmp_path, "MNIST")


def test_a_checksum_that_differs_is_a_data_error(tmp_path):
    WRITERS["CIFAR10"](tmp_path, "CIFAR10")
    with pytest.raises(DataError, match="corrupted"):
        make(tmp_path, "CIFAR10")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"image_size": 0}, "image_size must be a whole number"),
        ({"image_size": 2.5}, "image_size must be a whole number"),
        ({"limit": -1}, "limit must be a whole number"),
        ({"download": "yes"}, "download must be true or false"),
        ({"split": []}, "names no part"),
    ],
)
def test_bad_arguments(tmp_path, arguments, said):
    with pytest.raises(BenchError, match=said):
        make(tmp_path, "DTD", **arguments)


def test_a_misspelt_argument_is_found_before_anything_is_read():
    assert TASKS.get("EMNIST").problems({"spilt": "letters"}) == [
        'task "EMNIST" has no argument "spilt"; did you mean "split"?'
    ]
    assert not TASKS.get("EMNIST").problems({"split": "letters", "limit": 5, "image_size": 8, "download": True})


@pytest.mark.parametrize(("name", "first"), [("MNIST", [5, 0, 4, 1, 9]), ("FashionMNIST", [9, 0, 0, 3, 0])])
def test_the_real_files(name, first):
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} NOT TESTED on its real files: none in {DATA} (set NTBENCH_DATA)")
    task = make(DATA, name)
    assert task.x.shape == (60000, 1, 28, 28)
    assert task.x_test.shape == (10000, 1, 28, 28)
    assert task.y[:5].tolist() == first
    assert np.bincount(task.y_test).tolist() == (
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] if name == "MNIST" else [1000] * 10
    )
    small = make(DATA, name, limit=200)
    assert np.bincount(small.y).min() > 10
