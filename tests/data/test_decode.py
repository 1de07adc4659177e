"""Decoding whatever a file holds, against Pillow and NumPy."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from fgjax.data import decode
from fgjax.data.decode import BrokenImageError
from fgjax.errors import UserError


@pytest.fixture
def pixels():
    """A smooth colour picture, which JPEG keeps well, with no symmetry: 60 rows, 80 columns."""
    y, x = np.mgrid[:60, :80]
    return np.stack([3 * x, 4 * y, 250 - x - y], -1).astype(np.uint8)


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def read(data, **options):
    return decode.decode(data, "bird", **options)[0]


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG"])
def test_formats(pixels, file_format):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(file_format, {})
    found = read(encoded(pixels, file_format, **options))
    tolerance = {"JPEG": 6, "GIF": 40}.get(file_format, 0)  # GIF has a palette of 256 colours
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - pixels).max() <= tolerance


@pytest.mark.parametrize(("file_format", "tolerance"), [("JPEG", 4), ("PNG", 0)])
def test_grey_becomes_three_equal_channels(pixels, file_format, tolerance):
    grey = pixels[..., 0]
    found = read(encoded(grey, file_format))
    assert found.shape == (60, 80, 3)
    assert np.abs(found.astype(int) - grey[..., None]).max() <= tolerance
    assert (found == found[..., :1]).all()


def test_sixteen_bit_grey_keeps_its_range():
    grey = np.linspace(0, 65535, 60 * 80).reshape(60, 80).astype(np.uint16)
    expected = np.round(grey / 257).astype(np.uint8)
    np.testing.assert_array_equal(read(encoded(grey, "PNG")), np.dstack([expected] * 3))


def test_one_bit_becomes_black_and_white(pixels):
    mask = pixels[..., 0] > 100
    np.testing.assert_array_equal(read(encoded(mask, "PNG")), np.dstack([mask] * 3) * 255)


def test_cmyk_photos_keep_their_colours(pixels):
    cmyk = Image.fromarray(pixels).convert("CMYK")
    found = read(encoded(cmyk, "JPEG", quality=95))
    assert np.abs(found.astype(int) - pixels).mean() < 4


def test_a_palette_becomes_its_colours(pixels):
    image = Image.fromarray(pixels).quantize(16)
    np.testing.assert_array_equal(read(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def blended_with_white(pixels, alpha):
    alpha = alpha[..., None] / 255
    return alpha * pixels + (1 - alpha) * 255


def test_transparency_is_laid_on_white(pixels):
    alpha = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    found = read(encoded(np.dstack([pixels, alpha]), "PNG"))
    np.testing.assert_allclose(found, blended_with_white(pixels, alpha), atol=1)


def test_a_transparent_colour_of_a_palette_is_laid_on_white(pixels):
    image = Image.fromarray(pixels).quantize(16)
    found = read(encoded(image, "PNG", transparency=5))
    expected = np.array(image.convert("RGB"))
    expected[np.asarray(image) == 5] = 255
    assert (expected == 255).any()
    np.testing.assert_array_equal(found, expected)


def test_grey_with_alpha_is_laid_on_white(pixels):
    grey, alpha = pixels[..., 0], pixels[..., 1]
    found = read(encoded(Image.fromarray(np.dstack([grey, alpha]), "LA"), "PNG"))
    expected = blended_with_white(np.dstack([grey] * 3), alpha)
    np.testing.assert_allclose(found, expected, atol=1)


# What a viewer must do to show a file with this orientation upright (EXIF 2.32, tag 0x0112).
TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_rotation_is_undone(pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pixels, "PNG", exif=exif)
    upright = TURNED[orientation](pixels)
    np.testing.assert_array_equal(read(data), upright)
    assert decode.image_size(data) == upright.shape[:2]
    half, affine = decode.decode(data, "bird", short_side=30)
    assert half.shape[:2] == tuple(side // 2 for side in upright.shape[:2])
    np.testing.assert_allclose(affine, [0.5, 0.5, 0, 0])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(61, 97), (97, 61), (61, 61)])
@pytest.mark.parametrize("short_side", [13, 61, 80])
def test_the_short_side_is_resized(size, short_side, interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found, affine = decode.decode(encoded(pixels, "PNG"), "bird", short_side, interpolation)
    height, width = (short_side * side // 61 for side in size)
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(pixels).resize((width, height), method))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(affine[:2], np.array([height, width]) / size, rtol=1e-6)
    assert not affine[2:].any()


def test_the_fast_way_through_a_large_jpeg_gives_the_same_picture():
    y, x = np.mgrid[:600, :800]
    pixels = np.stack([127 + 80 * np.sin(y / 9) * np.cos(x / p) for p in (7, 11, 5)], -1)
    data = encoded(pixels.astype(np.uint8), "JPEG", quality=95)
    found, affine = decode.decode(data, "bird", short_side=75)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.resize((100, 75), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).mean() < 1.5
    np.testing.assert_allclose(affine, [1 / 8, 1 / 8, 0, 0])


def test_pixels_are_taken_as_they_are(pixels):
    np.testing.assert_array_equal(read(pixels), pixels)
    np.testing.assert_array_equal(read(pixels[..., :1]), np.dstack([pixels[..., 0]] * 3))
    assert decode.image_size(pixels) == (60, 80)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_named(file_format, share):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    whole = encoded(pixels, file_format)
    with pytest.raises(
        BrokenImageError, match="cannot read the image bird .*; replace or remove the file"
    ):
        read(whole[: int(share * len(whole))])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"<html></html>", "it is not an image"),
        (b"\xff\xd8\xff", "it is not"),
    ],
)
def test_files_that_are_no_images_are_named(data, reason):
    with pytest.raises(BrokenImageError, match=f"cannot read the image bird \\({reason}.*remove"):
        read(data)


def test_no_damage_of_a_file_ends_in_another_error(pixels):
    rng = np.random.default_rng(0)
    for file_format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        whole = np.frombuffer(encoded(pixels, file_format), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 12)] = rng.integers(0, 256, 12)
            with contextlib.suppress(BrokenImageError):
                assert read(damaged.tobytes(), short_side=8).dtype == np.uint8


def test_floating_point_pixels_are_refused():
    data = encoded(np.zeros((4, 4), np.float32), "TIFF")
    with pytest.raises(BrokenImageError, match="floating-point pixels have no agreed range"):
        read(data)


def test_a_picture_too_large_to_be_true_is_refused(pixels, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BrokenImageError, match="decompression bomb"):
        read(encoded(pixels, "PNG"))


def test_an_unknown_interpolation_is_named(pixels):
    with pytest.raises(UserError, match=r"data\.interpolation='lanczos' is unknown"):
        read(encoded(pixels, "PNG"), interpolation="lanczos")
