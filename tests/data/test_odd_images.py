"""Images that are turned, very long, very large, or not what their name says."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from fgjax.data import decode, pipeline
from fgjax.data.decode import BrokenImageError
from fgjax.ops import boxes


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.fixture
def lopsided():
    """A picture with no symmetry: 96 rows, 64 columns."""
    y, x = np.mgrid[:96, :64]
    return Image.fromarray(np.stack([3 * x, 2 * y, 250 - x - y], -1).astype(np.uint8))


@pytest.mark.parametrize("short_side", [None, 16, 64])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_photo_is_upright_and_keeps_its_shape(lopsided, file_format, short_side):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(lopsided, file_format, exif=exif)
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
        width, height = upright.size
        assert decode.image_size(data) == (height, width)
        found, affine = decode.decode(data, "photo", short_side)
        side = short_side or 64
        size = (side * width // 64, side * height // 64)
        expected = np.asarray(upright.resize(size, Image.Resampling.BILINEAR), int)
        assert found.shape == expected.shape
        np.testing.assert_allclose(affine, [side / 64, side / 64, 0, 0])
        # A JPEG is decoded at a fraction of its size where that suffices.
        assert np.abs(found - expected).max() <= (12 if file_format == "JPEG" else 0)


def test_a_tiff_whose_rotation_stands_in_its_xmp_keeps_its_shape(lopsided):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(lopsided, "TIFF", tiffinfo={700: xmp})
    with Image.open(io.BytesIO(data)) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    found, _ = decode.decode(data, "scan", 64)
    np.testing.assert_array_equal(found, upright)
    assert decode.image_size(data) == found.shape[:2]


def test_up_to_eight_times_as_long_as_wide_the_whole_image_is_kept():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 80, 3), np.uint8)
    found, affine = decode.decode(pixels, "strip", 20)
    whole = Image.fromarray(pixels).resize((160, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found, np.asarray(whole))
    np.testing.assert_allclose(affine, [2, 2, 0, 0])


@pytest.mark.parametrize("upright", [True, False])
def test_of_a_longer_image_the_middle_is_kept_where_its_map_says(upright):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 201, 3), np.uint8)
    found, affine = decode.decode(pixels.swapaxes(0, 1) if upright else pixels, "strip", 20)
    found, affine = (found.swapaxes(0, 1), affine[[1, 0, 3, 2]]) if upright else (found, affine)
    assert found.shape == (20, 160, 3)
    np.testing.assert_allclose(affine, [2, 2, 0, -120])
    whole = np.asarray(Image.fromarray(pixels).resize((402, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(found, whole[:, 120:280])


def test_a_thin_strip_is_enlarged_to_no_more_than_eight_squares():
    data = encoded(Image.new("RGB", (20000, 2), "green"), "PNG")
    found, affine = decode.decode(data, "strip", 256)
    assert found.shape == (256, 2048, 3)
    assert (found == found[0, 0]).all()
    np.testing.assert_allclose(affine, [128, 128, 0, -128 * 9992])


@pytest.mark.parametrize("crop", ["random", "center"])
def test_boxes_follow_the_middle_of_a_long_image(source_of, crop):
    pixels = np.zeros((16, 400, 3), np.uint8)
    pixels[4:12, 190:210] = 255
    box = np.array([[4, 190, 12, 210]], np.float32)
    source = source_of([pixels], boxes=box)
    batches = pipeline.train_batches(source, canvas=32, batch_size=4, seed=0, crop=crop)
    for image, affine in zip(*map(next(batches).get, ("image", "affine")), strict=True):
        ymin, xmin, ymax, xmax = np.clip(boxes.map_boxes(affine, box[0]), 0, 32)
        rows, columns = np.nonzero(image[..., 0] > 127)
        if len(rows):
            seen = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
            np.testing.assert_allclose(seen, (ymin, xmin, ymax, xmax), atol=1)
        else:
            assert xmin == xmax


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("data", [EPS, b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"])
def test_what_another_program_would_draw_is_no_image(data):
    with pytest.raises(BrokenImageError, match=r"cannot read the image photo\.jpg \(it is not an"):
        decode.decode(data, "photo.jpg", 8)


def with_height_and_width(jpeg, height, width):
    """The JPEG with another size in its header (SOF0 and SOF2)."""
    at = next(jpeg.find(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in jpeg) + 5
    return jpeg[:at] + height.to_bytes(2) + width.to_bytes(2) + jpeg[at + 4 :]


def test_a_large_panorama_is_decoded_at_a_fraction_of_its_size(monkeypatch):
    data = encoded(Image.new("RGB", (3200, 800), "green"), "JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found, _ = decode.decode(data, "panorama", 32)
    assert found.shape == (32, 128, 3)


@pytest.mark.parametrize("short_side", [None, 256])
def test_a_bomb_is_refused_before_it_takes_memory(lopsided, short_side):
    small = encoded(lopsided, "JPEG", progressive=True, subsampling=0)
    data = with_height_and_width(small, 65000, 65000)
    with pytest.raises(BrokenImageError, match=r"65000 x 65000 pixels would take .* 2 GiB are all"):
        decode.decode(data, "bomb", short_side)


def test_an_image_for_which_memory_does_not_suffice_is_broken(source_of, lopsided, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    data = encoded(lopsided, "PNG")
    source = source_of([data, data], skip_broken=True)
    monkeypatch.setattr(Image.Image, "resize", full)
    with pytest.raises(BrokenImageError, match=r"\(it needs more memory than there is\)"):
        source.resized(0, 8, "bilinear")
    [batch] = pipeline.eval_batches(source, image_size=8, crop_fraction=1.0, batch_size=2)
    assert batch["mask"].tolist() == [0, 0]


def test_only_in_training_the_way_on_is_to_skip_broken_images(source_of):
    with pytest.raises(BrokenImageError) as raised:
        decode.decode(b"no image", "photo.jpg")
    assert str(raised.value) == (
        "cannot read the image photo.jpg (it is not an image); replace or remove the file"
    )
    with pytest.raises(BrokenImageError, match=r"file, or set data\.skip_broken=True to go on"):
        source_of([b"no image"])[0]
