"""Tiny data sets on disk, laid out as torchvision's classes expect them.

Every image has one brightness, `shade(label, test)`, so that a test can tell from the pixels alone
which label and which part an example must have. Labels are the class's own indices.
"""

import bz2
import csv
import json
import pickle
from pathlib import Path

import numpy as np

TRAIN, TEST = 6, 3  # examples a class


def shade(label, test=False):
    return 10 + 20 * label + (130 if test else 0)


def image(label, test, shape):
    return np.full(shape, shade(label, test), np.uint8)


def stack(labels, test, shape):
    return np.stack([image(label, test, shape) for label in labels])


def both(labels=(0, 1, 2)):
    """Yield (test?, labels of the examples) for the train and the test part."""
    yield False, [label for _ in range(TRAIN) for label in labels]
    yield True, [label for _ in range(TEST) for label in labels]


def save(path, label, test, size=(20, 12)):
    """Write an image file; PNG data under any name keep the shade exact."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    mode, shape = ("RGB", (*size, 3)) if path.suffix != ".png" or size != (105, 105) else ("L", size)
    Image.fromarray(image(label, test, shape), mode=None).convert(mode).save(path, format="PNG")


def folders(root, parts, names, suffix, size=(20, 12)):
    """Write part/class/file trees; `parts` maps test? to the folder of the part."""
    for test, labels in both(range(len(names))):
        if test in parts:
            for number, label in enumerate(labels):
                save(root / parts[test] / names[label] / f"{number:04d}{suffix}", label, test, size)


def idx(path, array, code=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, code, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.tobytes())


def mnist(root, name):
    for test, labels in both():
        stem = root / name / "raw" / ("t10k" if test else "train")
        idx(Path(f"{stem}-images-idx3-ubyte"), stack(labels, test, (28, 28)))
        idx(Path(f"{stem}-labels-idx1-ubyte"), np.array(labels, np.uint8))


def emnist(root, name, split="letters", first=1):
    for test, labels in both((0, 1, 2)):
        stem = root / name / "raw" / f"emnist-{split}-{'test' if test else 'train'}"
        pixels = stack(labels, test, (28, 28))
        pixels[:, 3, 20] = 255  # row 3, column 20 of the file: column 3, row 20 once upright
        idx(Path(f"{stem}-images-idx3-ubyte"), pixels)
        idx(Path(f"{stem}-labels-idx1-ubyte"), np.array(labels, np.uint8) + first)


def qmnist(root, name):
    for test, labels in both():
        stem = root / name / "raw" / f"qmnist-{'test' if test else 'train'}"
        rows = np.zeros((len(labels), 8), ">i4")
        rows[:, 0], rows[:, 1:] = labels, 7
        idx(Path(f"{stem}-images-idx3-ubyte"), stack(labels, test, (28, 28)))
        idx(Path(f"{stem}-labels-idx2-int"), rows, code=12)


def usps(root, name):
    for test, labels in both():
        with bz2.open(root / f"usps{'.t' if test else ''}.bz2", "wt") as file:
            for label in labels:
                value = (shade(label, test) + 0.5) / 255 * 2 - 1
                file.write(f"{label + 1} " + " ".join(f"{k + 1}:{value:.6f}" for k in range(256)) + "\n")


def semeion(root, name):
    rows = []
    for label in [label for _ in range(TRAIN) for label in range(3)]:
        # Black and white: the label is the number of bright rows.
        pixels = np.zeros((16, 16))
        pixels[: label + 1] = 1
        rows.append(np.concatenate([pixels.ravel(), np.eye(10)[label]]))
    np.savetxt(root / "semeion.data", np.array(rows), fmt="%.4f")


def svhn(root, name):
    from scipy.io import savemat

    for test, labels in both():
        pixels = stack(labels, test, (32, 32, 3)).transpose(1, 2, 3, 0)
        # The files call the digit zero "10".
        y = np.where(np.array(labels) == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(root / f"{'test' if test else 'train'}_32x32.mat", {"X": pixels, "y": y})


def cifar(folder, key, meta, train, test_file, names):
    def write(root, name):
        base = root / folder
        base.mkdir()
        for test, labels in both():
            pixels = stack(labels, test, (3072,))
            files = [test_file] if test else train
            for part, file in enumerate(files):
                chosen = slice(part, None, len(files))
                content = {"data": pixels[chosen], key: labels[chosen]}
                (base / file).write_bytes(pickle.dumps(content))
        (base / meta[0]).write_bytes(pickle.dumps({meta[1]: names}))

    return write


def stl(root, name):
    base = root / "stl10_binary"
    base.mkdir()
    for test, labels in both():
        part = "test" if test else "train"
        stack(labels, test, (3, 96, 96)).tofile(base / f"{part}_X.bin")
        (np.array(labels, np.uint8) + 1).tofile(base / f"{part}_y.bin")
    image(0, False, (1, 3, 96, 96)).tofile(base / "unlabeled_X.bin")


def caltech101(root, name):
    base = root / "caltech101" / "101_ObjectCategories"
    for label, kind in enumerate(("accordion", "airplanes", "anchor")):
        for number in range(TRAIN):
            save(base / kind / f"image_{number + 1:04d}.jpg", label, False)
    save(base / "BACKGROUND_Google" / "image_0001.jpg", 9, False)


def caltech256(root, name):
    for label, kind in enumerate(("001.ak47", "002.flag")):
        for number in range(TRAIN):
            file = f"{label + 1:03d}_{number + 1:04d}.jpg"
            save(root / "caltech256" / "256_ObjectCategories" / kind / file, label, False)


def celeba(root, name):
    base = root / "celeba"
    rows, number = [], 0
    for test, labels in both((0, 1)):
        for label in labels:
            number += 1
            file = f"{number:06d}.jpg"
            save(base / "img_align_celeba" / file, label, test)
            rows.append((file, label, 2 if test else 0))
    attributes = [f"{file} {-1 if label else 1} {1 if label else -1}" for file, label, _ in rows]
    (base / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), "Young Smiling", *attributes]))
    (base / "identity_CelebA.txt").write_text("\n".join(f"{file} 1" for file, _, _ in rows))
    (base / "list_bbox_celeba.txt").write_text("\n".join(["n", "x y w h", *(f"{f} 0 0 1 1" for f, _, _ in rows)]))
    marks = ["n", "a b", *(f"{file} 0 0" for file, _, _ in rows)]
    (base / "list_landmarks_align_celeba.txt").write_text("\n".join(marks))
    (base / "list_eval_partition.txt").write_text("\n".join(f"{file} {part}" for file, _, part in rows))


def clevr(root, name):
    base = root / "clevr" / "CLEVR_v1.0"
    for test, labels in both():
        part, scenes = "val" if test else "train", []
        for number, label in enumerate(labels):
            file = f"CLEVR_{part}_{number:06d}.png"
            save(base / "images" / part / file, label, test)
            scenes.append({"image_filename": file, "objects": [{}] * (label + 3)})
        (base / "scenes").mkdir(exist_ok=True)
        (base / "scenes" / f"CLEVR_{part}_scenes.json").write_text(json.dumps({"scenes": scenes}))


def listed(line, train, test, names, where, suffix):
    """Write images in class folders and a text file a part that lists them."""

    def write(root, name):
        for held, labels in both(range(len(names))):
            lines = []
            for number, label in enumerate(labels):
                stem = f"{'t' if held else 'p'}{number:04d}"
                save(root / where.format(name=names[label], stem=stem), label, held)
                lines.append(line.format(name=names[label], stem=stem, label=label))
            path = root / (test if held else train)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")

    return write


def fer(root, name):
    (root / "fer2013").mkdir()
    with open(root / "fer2013" / "fer2013.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for test, labels in both():
            for label in labels:
                pixels = " ".join([str(shade(label, test))] * 48 * 48)
                writer.writerow([label, pixels, "PrivateTest" if test else "Training"])


def aircraft(root, name):
    names = ["707-320", "A300B4", "An-12"]
    base = "fgvc-aircraft-2013b/data"
    write = listed(
        "{stem} {name}",
        f"{base}/images_variant_trainval.txt",
        f"{base}/images_variant_test.txt",
        names,
        base + "/images/{stem}.jpg",
        ".jpg",
    )
    write(root, name)
    (root / base / "variants.txt").write_text("\n".join(names) + "\n")


def flowers(root, name):
    from scipy.io import savemat

    base, number, ids, all_labels = root / "flowers-102", 0, {}, []
    for test, labels in both():
        ids[test] = []
        for label in labels:
            number += 1
            save(base / "jpg" / f"image_{number:05d}.jpg", label, test)
            ids[test].append(number)
            all_labels.append(label + 1)
    savemat(base / "imagelabels.mat", {"labels": np.array(all_labels)})
    savemat(base / "setid.mat", {"trnid": ids[False][:12], "valid": ids[False][12:], "tstid": ids[True]})


def food(root, name):
    for test, labels in both():
        listing = {}
        for number, label in enumerate(labels):
            kind = ("apple_pie", "baklava", "bibimbap")[label]
            stem = f"{kind}/{number}{'9' if test else '1'}"
            save(root / "food-101" / "images" / f"{stem}.jpg", label, test)
            listing.setdefault(kind, []).append(stem)
        meta = root / "food-101" / "meta"
        meta.mkdir(exist_ok=True)
        (meta / f"{'test' if test else 'train'}.json").write_text(json.dumps(listing))


def gtsrb(root, name):
    base = root / "gtsrb"
    lines = ["Filename;Width;Height;ClassId"]
    for test, labels in both():
        for number, label in enumerate(labels):
            where = f"Final_Test/Images/{number:05d}" if test else f"Training/{label:05d}/{number:05d}"
            save(base / "GTSRB" / f"{where}.ppm", label, test)
            lines += [f"{number:05d}.ppm;12;20;{label}"] * test
    (base / "GT-final_test.csv").write_text("\n".join(lines) + "\n")


def imagenet(root, name):
    import torch

    wnids = ["n01440764", "n02012849", "n03126707"]
    classes = [("tench", "Tinca tinca"), ("crane",), ("crane",)]
    folders(root / "ImageNet", {False: "train", True: "val"}, wnids, ".JPEG")
    torch.save((dict(zip(wnids, classes, strict=True)), []), root / "ImageNet" / "meta.bin")


def imagenette(root, name):
    wnids = ["n01440764", "n02102040", "n02979186"]
    folders(root / "imagenette2", {False: "train", True: "val"}, wnids, ".jpeg")


def inaturalist(root, name):
    kinds = [f"{k:05d}_Animalia_Chordata_{c}_o_f_g_s{k}" for k, c in enumerate(("Aves", "Aves", "Mammalia"))]
    folders(root / "INaturalist", {False: "2021_train", True: "2021_valid"}, kinds, ".jpg")


def lfw(root, name):
    base, people = root / "lfw-py", ("Ada_Byron", "Alan_Turing", "Grace_Hopper")
    for label, person in enumerate(people):
        for number in range(1, TRAIN + 1):
            save(base / "lfw_funneled" / person / f"{person}_{number:04d}.jpg", label, False)
    (base / "lfw-names.txt").write_text("".join(f"{person}\t{TRAIN}\n" for person in people))
    folds = [f"2\n{people[0]}\t{TRAIN}\n{people[1]}\t{TRAIN}\n", f"1\n{people[2]}\t{TRAIN}\n"]
    (base / "people.txt").write_text("2\n" + "".join(folds))
    (base / "lfw-funneled.tgz").write_bytes(b"")


def omniglot(root, name):
    base = root / "omniglot-py"
    for label in range(3):
        alphabet, character = (("Latin", "character01"), ("Latin", "character02"), ("Tifinagh", "character01"))[label]
        for number in range(TRAIN):
            file = base / "images_background" / alphabet / character / f"{label:04d}_{number:02d}.png"
            save(file, label, False, (105, 105))
    (base / "images_background.zip").write_bytes(b"")


def pets(root, name):
    names = ("Abyssinian", "american_bulldog", "Bengal")
    base = "oxford-iiit-pet/annotations"
    for held, labels in both():
        lines = []
        for number, label in enumerate(labels):
            stem = f"{names[label]}_{number + 100 * held}"
            save(root / "oxford-iiit-pet" / "images" / f"{stem}.jpg", label, held)
            lines.append(f"{stem} {label + 1} {2 if label == 1 else 1} 1")
        (root / base).mkdir(exist_ok=True)
        (root / base / f"{'test' if held else 'trainval'}.txt").write_text("\n".join(lines) + "\n")


def places(root, name):
    names = ["/a/airfield", "/a/alley", "/b/bar"]
    base = root / "Places365"
    for test, labels in both():
        lines = []
        for number, label in enumerate(labels):
            file = f"Places365_val_{number:08d}.jpg" if test else f"{names[label]}/{number:08d}.jpg"
            save(base / ("val_large" if test else "data_large_standard") / file.lstrip("/"), label, test)
            lines.append(f"{file} {label}")
        listing = "places365_val.txt" if test else "places365_train_standard.txt"
        (base / listing).write_text("\n".join(lines) + "\n")
    (base / "categories_places365.txt").write_text("".join(f"{n} {k}\n" for k, n in enumerate(names)))


def cars(root, name):
    from scipy.io import savemat

    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    for test, labels in both():
        rows = []
        for number, label in enumerate(labels):
            save(base / ("cars_test" if test else "cars_train") / f"{number:05d}.jpg", label, test)
            rows.append((f"{number:05d}.jpg", label + 1))
        file = base / "cars_test_annos_withlabels.mat" if test else base / "devkit" / "cars_train_annos.mat"
        savemat(file, {"annotations": np.array(rows, dtype=[("fname", object), ("class", "i4")])})
    names = np.array(["AM General Hummer", "Acura RL", "Acura TL"], dtype=object)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})


def sun(root, name):
    names = ["/a/abbey", "/a/alley", "/b/bar/indoor"]
    for label, kind in enumerate(names):
        for number in range(TRAIN):
            save(root / "SUN397" / kind[1:] / f"sun_{'zyx'[label]}{number}.jpg", label, False)
    (root / "SUN397" / "ClassName.txt").write_text("\n".join(names) + "\n")


def pcam(root, name):
    import h5py

    (root / "pcam").mkdir()
    for test, labels in both((0, 1)):
        stem = root / "pcam" / f"camelyonpatch_level_2_split_{'test' if test else 'train'}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = stack(labels, test, (96, 96, 3))
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array(labels, np.uint8).reshape(-1, 1, 1, 1)


ROOMS = (
    "bedroom",
    "bridge",
    "church_outdoor",
    "classroom",
    "conference_room",
    "dining_room",
    "kitchen",
    "living_room",
    "restaurant",
    "tower",
)


def lsun(root, name):
    import io

    import lmdb
    from PIL import Image

    for label, kind in enumerate(ROOMS):
        for test in (False, True):
            path = root / "LSUN" / f"{kind}_{'val' if test else 'train'}_lmdb"
            path.parent.mkdir(exist_ok=True)
            with lmdb.open(str(path)) as env, env.begin(write=True) as writer:
                for number in range(TEST if test else TRAIN):
                    file = io.BytesIO()
                    Image.fromarray(np.full((20, 12, 3), 10 + 10 * label + 100 * test, np.uint8)).save(file, "PNG")
                    writer.put(f"{number}".encode(), file.getvalue())


TREE = {
    "Country211": ("country211", {False: "train", True: "test"}, ("AD", "AE", "AF"), ".jpg", (20, 12)),
    "EuroSAT": ("eurosat/2750", {False: ""}, ("AnnualCrop", "Forest", "River"), ".jpg", (64, 64)),
    "RenderedSST2": ("rendered-sst2", {False: "train", True: "test"}, ("negative", "positive"), ".png", (20, 12)),
}


def tree(root, name):
    where, parts, names, suffix, size = TREE[name]
    folders(root / where, parts, names, suffix, size)


BATCHES = [f"data_batch_{k}" for k in range(1, 6)]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
KINDS = ("banded", "blotchy", "braided")

WRITERS = {
    "MNIST": mnist,
    "FashionMNIST": mnist,
    "KMNIST": mnist,
    "EMNIST": lambda root, name: emnist(root, name, "balanced", 0),
    "QMNIST": qmnist,
    "USPS": usps,
    "SEMEION": semeion,
    "SVHN": svhn,
    "CIFAR10": cifar("cifar-10-batches-py", "labels", ("batches.meta", "label_names"), BATCHES, "test_batch", CIFAR),
    "CIFAR100": cifar(
        "cifar-100-python",
        "fine_labels",
        ("meta", "fine_label_names"),
        ["train"],
        "test",
        ["apple", "bear", "cup", "x"],
    ),
    "STL10": stl,
    "Caltech101": caltech101,
    "Caltech256": caltech256,
    "CelebA": celeba,
    "CLEVRClassification": clevr,
    "DTD": listed(
        "{name}/{stem}.jpg",
        "dtd/dtd/labels/train1.txt",
        "dtd/dtd/labels/test1.txt",
        KINDS,
        "dtd/dtd/images/{name}/{stem}.jpg",
        ".jpg",
    ),
    "FER2013": fer,
    "FGVCAircraft": aircraft,
    "Flowers102": flowers,
    "Food101": food,
    "GTSRB": gtsrb,
    "ImageNet": imagenet,
    "Imagenette": imagenette,
    "INaturalist": inaturalist,
    "LFWPeople": lfw,
    "LSUN": lsun,
    "Omniglot": omniglot,
    "OxfordIIITPet": pets,
    "PCAM": pcam,
    "Places365": places,
    "StanfordCars": cars,
    "SUN397": sun,
    **dict.fromkeys(TREE, tree),
}
