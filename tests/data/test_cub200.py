"""CUB-200-2011: every annotation against the text files of its layout, read another way."""

import numpy as np
import pytest
from PIL import Image

from fgjax import data
from fgjax.errors import UserError


def column(folder, name, number=1):
    return [line.split()[number] for line in (folder / name).read_text().splitlines()]


def load_both(config, folder):
    return data.load(config(name="cub200", dir=str(folder)), "final")


def check_against_the_files(folder, source, is_train):
    """Every example of a split against its rows, found by the name of its image."""
    classes = column(folder, "classes.txt")
    boxes = np.loadtxt(folder / "bounding_boxes.txt", ndmin=2)[:, 1:]
    parts = np.loadtxt(folder / "parts/part_locs.txt").reshape(len(boxes), -1, 5)
    label_of = dict(zip(column(folder, "classes.txt", 0), range(len(classes)), strict=True))
    paths, labels = column(folder, "images.txt"), column(folder, "image_class_labels.txt")
    expected = [
        i for i, flag in enumerate(column(folder, "train_test_split.txt")) if flag == is_train
    ]
    assert list(source.names) == [paths[i] for i in expected]
    for index, row in enumerate(expected):
        found = source.annotations(index)
        x, y, width, height = boxes[row]
        assert found["label"] == label_of[labels[row]]
        assert classes[found["label"]] == paths[row].split("/")[0]
        np.testing.assert_allclose(found["box"], [y, x, y + height, x + width], rtol=1e-6)
        np.testing.assert_allclose(found["parts"], parts[row][:, [3, 2, 4]], rtol=1e-6)


def check_families(info):
    """The family is the last word of the name of the class, in the folders' own spelling."""
    for name, coarse in zip(info.classes, info.coarse_of, strict=True):
        assert info.coarse_classes[coarse] == name.rsplit(" ", 1)[-1]


def test_a_folder_in_the_layout(config, tiny_cub):
    found = load_both(config, tiny_cub)
    assert found.info.classes == (
        "Dusky Finch",
        "House Finch",
        "Ivory Gull",
        "Slaty backed Gull",
        "Winter Wren",
    )
    assert found.info.coarse_classes == ("Finch", "Gull", "Wren")
    assert found.info.coarse_of.tolist() == [0, 0, 1, 1, 2]
    assert len(found.info.part_names) == 15
    assert found.info.part_names[8] == "left wing"
    assert (len(found.train), len(found.test)) == (15, 10)
    assert found.validation is None
    check_families(found.info)
    check_against_the_files(tiny_cub, found.train, "1")
    check_against_the_files(tiny_cub, found.test, "0")


def test_thirty_classes_of_the_real_birds(config, cub30):
    found = load_both(config, cub30)
    assert (len(found.train), len(found.test)) == (900, 801)
    assert (len(found.info.classes), len(found.info.coarse_classes)) == (30, 15)
    assert len(found.info.part_names) == 15
    check_families(found.info)
    check_against_the_files(cub30, found.train, "1")
    check_against_the_files(cub30, found.test, "0")
    example = found.test[5]
    ymin, xmin, ymax, xmax = example["box"]
    height, width = example["image"].shape[:2]
    assert 0 <= ymin < ymax <= height and 0 <= xmin < xmax <= width


def test_only_a_number_before_the_first_dot_is_no_part_of_a_class(config, tiny_cub):
    names = ("001.Dusky_Finch", "St._Lucia_Parrot", "Boeing_737.800", "12._Gull", "5.")
    rows = [f"{number} {name}\n" for number, name in enumerate(names, start=1)]
    (tiny_cub / "classes.txt").write_text("".join(rows))
    found = load_both(config, tiny_cub).info.classes
    assert found == ("Dusky Finch", "St. Lucia Parrot", "Boeing 737.800", " Gull", "5.")


def test_images_are_those_of_the_folder(config, tiny_cub):
    source = load_both(config, tiny_cub).test
    with Image.open(tiny_cub / "images" / source.names[3]) as image:
        np.testing.assert_array_equal(source[3]["image"], np.asarray(image))
    assert source[3]["name"] == source.names[3]
    assert source[3]["coarse"] == 0


def test_the_folder_above_the_layout_will_do(config, tiny_cub):
    assert len(load_both(config, tiny_cub.parent).train) == 15


def test_boxes_and_parts_may_be_absent(config, tiny_cub):
    for name in ("bounding_boxes.txt", "parts/parts.txt", "parts/part_locs.txt"):
        (tiny_cub / name).unlink()
    found = load_both(config, tiny_cub)
    assert found.info.part_names == ()
    assert np.isnan(found.train.annotations(0)["box"]).all()
    assert found.train.annotations(0)["parts"].shape == (0, 3)


def drop_last_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "images.txt").unlink(),
            'has no images.txt; set data.dir to such a folder, or data.name="image_folder"',
        ),
        (
            lambda folder: drop_last_line(folder / "image_class_labels.txt"),
            "image_class_labels.txt names 24 images and images.txt 25",
        ),
        (
            lambda folder: drop_last_line(folder / "classes.txt"),
            "gives image 21 the class 5, which is not among the 4 of classes.txt",
        ),
        (
            lambda folder: (folder / "bounding_boxes.txt").write_text("1 2 3\n"),
            "line 1 of .*bounding_boxes.txt has 3 columns and should have 5",
        ),
        (
            lambda folder: (folder / "bounding_boxes.txt").write_text("1 2 3 wide 5\n"),
            "line 1 of .*bounding_boxes.txt should hold numbers .*'wide'.*; restore",
        ),
        (
            lambda folder: (folder / "images/003.Ivory_Gull/Ivory_Gull_0002_2.jpg").unlink(),
            r"1 of the 25 images .* the first being images/003.Ivory_Gull/Ivory_Gull_0002_2.jpg",
        ),
    ],
)
def test_damage_is_named(config, tiny_cub, damage, message):
    damage(tiny_cub)
    with pytest.raises(UserError, match=message):
        load_both(config, tiny_cub)


def test_a_missing_folder_is_named(config, tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist; set data\.dir"):
        load_both(config, tmp_path / "nowhere")


def test_a_class_without_training_image_is_named(config, tiny_cub):
    split = tiny_cub / "train_test_split.txt"
    rows = [line.split() for line in split.read_text().splitlines()]
    split.write_text("".join(f"{i} {0 if int(i) > 20 else flag}\n" for i, flag in rows))
    with pytest.raises(UserError, match="class 'Winter Wren' of .* has no training image"):
        load_both(config, tiny_cub)
