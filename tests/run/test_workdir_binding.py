"""A folder that holds a checkpoint belongs to one config and one set of data."""

import dataclasses
import json
import shutil

import pytest

from configs import own_photos
from fgjax.errors import UserError
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import experiment, train, workdir
from fgjax.training import parallel


def config_of(photos, protocol="develop"):
    c = own_photos.get_config(f"tiny,protocol={protocol}")
    c.data.dir = str(photos)
    return c


def load(c, *splits):
    return experiment.load_data(c, *splits or ("train",))


def begin(where, c, info=None):
    """A run with a checkpoint, as far as the folder can tell."""
    info = info or load(c).info
    with workdir.claimed(where):
        workdir.bind(where, c, info, Preprocessing(image_size=64), {})
    (where / "checkpoints" / "4").mkdir(parents=True, exist_ok=True)
    return info


def content(where):
    return {p: p.read_bytes() for p in where.rglob("*") if p.is_file()}


@pytest.fixture
def run(tmp_path, tiny_photos):
    where = tmp_path / "run"
    begin(where, config_of(tiny_photos))
    return where


def refusal(where, c):
    before = content(where)
    with pytest.raises(UserError) as caught:
        train.train(c, str(where))
    assert content(where) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rename(photos, old, new):
    for split in ("train", "val", "test"):
        (photos / split / old).rename(photos / split / new)


def test_a_renamed_class_folder_is_refused_before_anything_is_written(run, tiny_photos):
    rename(tiny_photos, "wren", "eurasian wren")
    said = refusal(run, config_of(tiny_photos))
    assert "'wren' is gone and 'eurasian wren' is new; change the data back" in said


def test_a_new_class_is_refused_before_anything_is_written(run, tiny_photos):
    shutil.copytree(tiny_photos / "train" / "wren", tiny_photos / "train" / "zebra finch")
    said = refusal(run, config_of(tiny_photos))
    assert "'zebra finch' is new; change" in said and "gone" not in said


def test_changed_photos_of_the_same_classes_are_refused(run, tiny_photos):
    (tiny_photos / "train" / "wren" / "0.jpg").unlink()
    said = refusal(run, config_of(tiny_photos))
    assert "the data have changed since the run" in said and "another workdir" in said


def test_another_config_is_refused_before_its_data_are_looked_for(run, tiny_photos):
    c = config_of(tiny_photos / "nowhere")
    c.train.epochs = 77.0
    assert "train.epochs was" in refusal(run, c)


def test_classes_in_another_order_and_many_of_them_are_told_apart(run, tiny_photos):
    info, _, _ = workdir.read_recognizer(run)
    c = config_of(tiny_photos)
    turned = dataclasses.replace(info, classes=info.classes[::-1])
    with pytest.raises(UserError, match="they come in another order"):
        workdir.bind(run, c, turned, Preprocessing(image_size=64), {})
    many = dataclasses.replace(info, classes=tuple("abcdefgh"))
    with pytest.raises(UserError, match="'finch', 'gull', 'wren' are gone and .* and 3 more are"):
        workdir.bind(run, c, many, Preprocessing(image_size=64), {})


def test_a_moved_folder_other_devices_and_another_evaluation_go_on(run, tmp_path, tiny_photos):
    moved = tmp_path / "moved"
    tiny_photos.rename(moved)
    c = config_of(moved)
    c.train.devices = 2
    c.evaluate.views = ("center", "flip")
    c.evaluate.epochs = 5.0
    workdir.check_config(run, c)
    begin(run, c)
    stored = workdir.read_config(run)
    assert stored.data.dir == str(moved)
    assert stored.evaluate.views == ("center", "flip") and stored.train.devices == 2


def test_a_folder_without_a_checkpoint_binds_to_nothing(run, tiny_photos):
    shutil.rmtree(run / "checkpoints")
    rename(tiny_photos, "wren", "eurasian wren")
    c = config_of(tiny_photos)
    c.train.epochs = 77.0
    begin(run, c)
    assert workdir.read_recognizer(run)[0].classes == ("eurasian wren", "finch", "gull")


@pytest.mark.parametrize("name", ["config.json", "recognizer.json"])
def test_checkpoints_that_have_lost_their_record_are_not_taken_over(run, tiny_photos, name):
    (run / name).unlink()
    assert f"holds checkpoints, but its {name} is missing" in refusal(run, config_of(tiny_photos))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"classes": []}', "recognizer.json lacks 'coarse_of': it is damaged, or of another"),
        ("[]", "recognizer.json is damaged"),
        ('{"classes": ', "recognizer.json is damaged"),
        (None, "recognizer.json is damaged"),
    ],
)
def test_a_damaged_recognizer_json_is_one_sentence(run, text, sentence):
    path = run / "recognizer.json"
    record = json.loads(path.read_text())
    path.write_text(text or json.dumps(record | {"preprocessing": {"mean": 3, "std": 4}}))
    with pytest.raises(UserError, match=sentence) as caught:
        workdir.read_recognizer(run)
    assert "\n" not in str(caught.value)


def one_folder(photos):
    """The photos without train/ and test/: test is cut from them by rule."""
    return photos / "train"


def test_images_that_were_learned_from_are_never_scored(tmp_path, tiny_photos):
    photos = one_folder(tiny_photos)
    for protocol, split in (("develop", "validation"), ("final", "test")):
        c = config_of(photos, protocol)
        info = load(c).info
        workdir.check_scorable(tmp_path, info, load(c, split))
        changed = dataclasses.replace(info, fingerprint="another")
        with pytest.raises(UserError, match=f"{split} split is cut from them by rule: images that"):
            workdir.check_scorable(tmp_path, changed, load(c, split))


def test_a_split_of_its_own_is_scored_after_the_training_data_changed(tmp_path, tiny_photos):
    for protocol, split in (("develop", "validation"), ("final", "test")):
        c = config_of(tiny_photos, protocol)
        changed = dataclasses.replace(load(c).info, fingerprint="another")
        workdir.check_scorable(tmp_path, changed, load(c, split))
        renamed = dataclasses.replace(changed, classes=("finch", "gull", "tit"))
        with pytest.raises(UserError, match="'tit' is gone and 'wren' is new"):
            workdir.check_scorable(tmp_path, renamed, load(c, split))


def test_more_devices_than_there_are_is_one_sentence_and_scoring_takes_what_there_is():
    with pytest.raises(UserError, match=r"train.devices is 99, but this machine has 8; choose 1"):
        parallel.make_mesh(99)
    with pytest.raises(UserError, match=r"train.devices is 0"):
        parallel.make_mesh(0)
    assert parallel.make_mesh(99, at_most=True).size == 8
    assert parallel.make_mesh(3, at_most=True).size == 3
