import numpy as np
import pytest

from bench.errors import BenchError, DataError
from bench.registry import TASKS
from bench.tasks.fonts import FAMILIES, covers, mask
from bench.tasks.glyphs import CHARACTERS

FONTS = [font for family in FAMILIES.values() for font in family]
DEJAVU = ["dejavu-sans", "dejavu-mono", "dejavu-serif"]


def glyphs(**arguments):
    return TASKS.get("glyphs").function(None, **{"n_test": 100, **arguments})


def test_every_set_is_in_some_font_of_two_families():
    for characters in CHARACTERS.values():
        for character in characters:
            families = [name for name, fonts in FAMILIES.items() if any(covers(f, character) for f in fonts)]
            assert len(families) >= 2, character


@pytest.mark.parametrize("font", FONTS)
def test_no_glyph_is_the_empty_box(font):
    """No character that a font is said to have looks like one that it lacks."""
    box = mask(font, "\U000e0fff", 32)
    for character in "".join(CHARACTERS.values()):
        if covers(font, character):
            drawn = mask(font, character, 32)
            assert drawn is not None
            assert box is None or drawn.size != box.size or drawn.tobytes() != box.tobytes(), character


def test_tex_fonts_serve_ascii_letters_and_digits_only():
    # Their code for "<" holds an inverted exclamation mark, for instance.
    for font in FAMILIES["computer-modern"]:
        assert covers(font, "A")
        assert covers(font, "7")
        assert not covers(font, "<")
        assert not covers(font, "§")


def test_blank_and_missing_characters_are_not_covered():
    assert not covers("DejaVuSans", " ")
    assert not covers("DejaVuSans", "\U000e0fff")
    assert not covers("STIXGeneralItalic", "∞")
    assert covers("STIXGeneral", "∞")


def test_classes_can_be_told_apart_and_fonts_vary():
    """Nearest class mean beats chance by far on unseen images, and no two images of a class are equal."""
    task = glyphs(characters="digits", n=600, n_test=300)
    means = np.stack([task.x[task.y == c].mean(0).ravel() for c in range(10)])
    distance = ((task.x_test.reshape(300, 1, -1) - means) ** 2).sum(-1)
    assert (distance.argmin(1) == task.y_test).mean() > 0.6
    assert len({image.tobytes() for image in task.x}) == 600


def test_size_rotation_and_shift_do_what_they_say():
    def ink(**arguments):
        task = glyphs(characters="HI", n=60, fonts="dejavu-sans", image_size=40, **arguments)
        tall = task.x[task.y == 0][:, 0] > 64
        rows, columns = tall.any(2), tall.any(1)
        height = rows.sum(1)
        return height, rows.argmax(1) + height / 2, columns.argmax(1) + columns.sum(1) / 2

    still = {"max_rotation": 0, "max_shift": 0}
    height, middle, centre = ink(sizes=(0.5, 0.5), **still)
    assert abs(height - 20).max() <= 2
    assert abs(middle - 20).max() <= 1
    assert abs(centre - 20).max() <= 1
    height, *_ = ink(sizes=(0.3, 0.9), **still)
    assert height.min() < 18
    assert height.max() > 30
    _, middle, centre = ink(sizes=(0.5, 0.5), max_rotation=0, max_shift=0.2)
    assert abs(middle - 20).max() > 4
    assert abs(centre - 20).max() > 4
    assert abs(middle - 20).max() <= 9


def test_glyphs_stay_in_the_picture():
    task = glyphs(characters="WMQ@", n=200, fonts=DEJAVU, max_shift=0, max_rotation=0, image_size=32)
    border = np.concatenate([task.x[:, 0, 0], task.x[:, 0, -1], task.x[:, 0, :, 0], task.x[:, 0, :, -1]])
    assert border.max() == 0


def test_held_out_fonts_are_not_trained_on():
    """With held-out fonts the test glyphs match glyphs of those fonts alone, without them of any."""
    still = {"characters": "AB", "sizes": (0.8, 0.8), "max_rotation": 0, "max_shift": 0, "n": 1000, "n_test": 1000}

    def kinds(x):
        return {image.tobytes() for image in x}

    held = glyphs(test_fonts=["stix"], **still)
    stix = glyphs(fonts=["stix"], **still)
    assert kinds(held.x_test) == kinds(stix.x)
    assert not kinds(held.x) & kinds(held.x_test)
    both = glyphs(**still)
    assert kinds(both.x) == kinds(both.x_test) == kinds(held.x) | kinds(held.x_test)


def test_printed_digits_are_the_glyph_task_with_digits():
    printed = TASKS.get("printed-digits").function(None, n=50, n_test=20, seed=3)
    np.testing.assert_array_equal(printed.x, glyphs(characters="digits", n=50, n_test=20, seed=3).x)
    assert printed.classes == tuple("0123456789")


def test_per_class_counts():
    assert np.bincount(glyphs(characters="greek", per_class=4).y).tolist() == [4] * 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"characters": "symbol"}, 'did you mean "symbols"'),
        ({"characters": "Greek"}, 'did you mean "greek"'),
        ({"characters": "abca"}, "repeat 'a'"),
        ({"characters": "a"}, "at least two classes"),
        ({"characters": "a b"}, "visible"),
        ({"characters": ["ab", "c"]}, "single, visible"),
        ({"characters": "a\U000e0fff"}, r"none of the font families .* has .*U\+E0FFF"),
        ({"characters": "αβ", "fonts": ["computer-modern"]}, r'has "." \(U\+03B1\), "β" \(U\+03B2\)'),
        ({"fonts": ["dejavu"]}, "unknown font family"),
        ({"fonts": ["stix"], "test_fonts": ["stix"]}, "no font family is left"),
        ({"n": 100, "per_class": 3}, "not both"),
        ({"n": 10}, "n must be a whole number, 26 or more"),
        ({"sizes": (0.9, 0.5)}, "smallest first"),
        ({"sizes": 0.5}, "two numbers"),
        ({"max_rotation": 400}, "max_rotation must be a number from 0 to 180"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(BenchError, match=message):
        glyphs(**arguments)


def test_a_character_that_only_the_test_fonts_lack_is_named():
    with pytest.raises(DataError, match="test set: none of the font families computer-modern"):
        glyphs(characters="αβ", test_fonts=["computer-modern"])
