"""Reading single image files."""

import numpy as np
import pytest
from PIL import Image

from bench.errors import DataError
from bench.tasks.images import read_image


def test_colour_becomes_channels_first(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", 3), pixels.transpose(2, 0, 1))
    assert read_image(tmp_path / "a.png", 1).shape == (1, 5, 7)
    assert read_image(tmp_path / "a.png", 3, 4).shape == (3, 4, 4)


def test_resizing_keeps_the_aspect_and_the_centre_or_squashes(tmp_path):
    """A white disc between two red borders."""
    rows, columns = np.indices((40, 80))
    disc = ((rows - 19.5) ** 2 + (columns - 39.5) ** 2 < 14**2)[..., None] * np.array([255, 255, 255])
    pixels = np.where((columns < 8)[..., None] | (columns >= 72)[..., None], [255, 0, 0], disc).astype(np.uint8)
    for turned in (False, True):
        Image.fromarray(pixels.transpose(1, 0, 2) if turned else pixels).save(tmp_path / "a.png")
        cropped = read_image(tmp_path / "a.png", 3, 20)
        assert np.array_equal(cropped[0], cropped[1])  # no red
        white = cropped[1] > 127
        assert white.any(0).sum() == white.any(1).sum() == 14
        squashed = read_image(tmp_path / "a.png", 3, 20, "squash")
        red = (squashed[0] > 127) & (squashed[1] < 127)
        assert red.any(0 if not turned else 1).sum() == 4
        white = squashed[1] > 127
        long, short = white.any(0).sum(), white.any(1).sum()
        assert 14 in (long, short)
        assert abs(long - short) >= 6  # half as wide as it is high, or the other way round
    square = Image.fromarray(pixels[:, :40])
    square.save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png", 3, 7), read_image(tmp_path / "b.png", 3, 7, "squash"))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    pixels = np.array([[0, 257, 30000], [40000, 65535, 128]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", 1)[0], np.round(pixels / 257).astype(np.uint8))


def test_other_modes(tmp_path):
    Image.new("1", (3, 3), 1).save(tmp_path / "bits.png")
    assert (read_image(tmp_path / "bits.png", 1) == 255).all()
    Image.new("RGBA", (3, 3), (10, 20, 30, 0)).save(tmp_path / "alpha.png")
    assert read_image(tmp_path / "alpha.png", 3)[:, 0, 0].tolist() == [10, 20, 30]
    palette = Image.new("RGB", (3, 3), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    palette.save(tmp_path / "palette.gif", transparency=0)
    assert read_image(tmp_path / "palette.gif", 3)[:, 0, 0].tolist() == [10, 20, 30]


def test_floats_have_no_known_range(tmp_path):
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff: its pixels are floats"):
        read_image(tmp_path / "a.tiff", 1)


def attempt(path):
    """Return the image's shape and None, or None and what was said."""
    try:
        return read_image(path, 3).shape, None
    except DataError as error:
        return None, str(error)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File", "ignore:Metadata", "ignore:Tag data")
@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "gif", "tiff", "ppm", "webp"])
def test_a_file_cut_short_or_flipped_is_a_data_error_or_an_image(tmp_path, kind):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(tmp_path / "whole", format=kind)
    content = (tmp_path / "whole").read_bytes()
    path, refused = tmp_path / f"cut.{kind}", 0
    for length in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        shape, error = attempt(path)
        assert shape == (3, 16, 16) if shape else str(path) in error
        refused += shape is None
        flipped = bytearray(content)
        flipped[length] ^= 255
        path.write_bytes(flipped)
        shape, error = attempt(path)
        assert shape or str(path) in error
    assert refused > 20


@pytest.mark.parametrize("factor", [1.5, 3])
def test_a_bomb_is_not_decoded(tmp_path, monkeypatch, factor):
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10000 / factor))
    with pytest.raises(DataError, match=r"bomb\.png: more than"):
        read_image(tmp_path / "bomb.png", 1, 8)


def test_missing_and_not_an_image(tmp_path):
    with pytest.raises(DataError, match="no such image"):
        read_image(tmp_path / "none.png", 1)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: not an image"):
        read_image(tmp_path / "text.png", 1)
