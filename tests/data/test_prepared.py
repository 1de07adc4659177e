"""Prepared data: keyed by their source, whole or not there, from an archive or a folder."""

import functools
import hashlib
import http.server
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image
from tensorflow_datasets.core.download.checksums import UrlInfo

from fgjax import data
from fgjax.data import birds, fingerprint
from fgjax.data.builders import cub200, synthetic_birds
from fgjax.errors import UserError


def remove_last_image(folder):
    """Make a folder in the layout of CUB_200_2011 a subset of itself."""
    for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:-1]))


def sizes(found):
    return len(found.train), len(found.test)


def test_a_subset_does_not_pass_for_the_whole(config, tiny_cub):
    c = config(name="cub200", dir=str(tiny_cub))
    whole = data.load(c, "final")
    remove_last_image(tiny_cub)
    subset = data.load(c, "final")
    assert (sizes(whole), sizes(subset)) == ((15, 10), (15, 9))
    assert whole.info.fingerprint != subset.info.fingerprint


def test_a_changed_image_is_read_anew(config, tiny_cub):
    c = config(name="cub200", dir=str(tiny_cub))
    name = data.load(c, "final").train.names[0]
    pixels = np.zeros((24, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tiny_cub / "images" / name)
    np.testing.assert_array_equal(data.load(c, "final").train[0]["image"], pixels)


def test_a_copy_of_the_folder_is_the_same_source(config, tiny_cub, tmp_path):
    copy = shutil.copytree(tiny_cub, tmp_path / "copy")
    first, second = (
        data.load(config(name="cub200", dir=str(folder)), "final") for folder in (tiny_cub, copy)
    )
    assert first.info.fingerprint == second.info.fingerprint
    assert len(list((tmp_path / "cache" / "cub200").iterdir())) == 1


def test_the_fingerprint_is_a_digest_of_names_and_contents(tmp_path):
    def of(**files):
        folder = tmp_path / "-".join(files)
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        return fingerprint.of_files(folder, sorted(folder.iterdir(), reverse=True))

    digests = [hashlib.sha256(text).digest() for text in (b"1", b"2")]
    expected = hashlib.sha256(b"a\0" + digests[0] + b"b\0" + digests[1]).hexdigest()
    assert of(a="1", b="2") == expected
    assert len({of(a="1", b="2"), of(a="2", b="1"), of(a="1"), of(ab="12")}) == 4


KILLED = """
import os, sys
from fgjax import data
from fgjax.data.builders import cub200

example = cub200.coarse_name
calls = iter(range(8 + 5))  # the five classes, and then one call for each image
cub200.coarse_name = lambda name: example(name) if next(calls, None) is not None else os._exit(9)
c = data.default_config()
c.name, c.dir, c.cache_dir = "cub200", *sys.argv[1:]
data.load(c, "final")
"""


def test_after_a_kill_the_preparation_starts_again(config, tiny_cub, tmp_path):
    c = config(name="cub200", dir=str(tiny_cub))
    killed = subprocess.run([sys.executable, "-c", KILLED, c.dir, c.cache_dir])
    assert killed.returncode == 9
    assert list((tmp_path / "cache").rglob("*incomplete*"))
    assert sizes(data.load(c, "final")) == (15, 10)


def test_another_process_may_prepare_the_same_data_meanwhile(config, monkeypatch):
    c = config(name="synthetic_birds", size=16, counts={"train": 2, "test": 1})
    draw, others = synthetic_birds._example, []

    def example(*arguments):
        if not others:
            others.append(None)
            others.append(data.load(c, "final"))
        return draw(*arguments)

    monkeypatch.setattr(synthetic_birds, "_example", example)
    slower, (_, faster) = data.load(c, "final"), others
    assert sizes(slower) == sizes(faster) == (32, 16)
    assert slower.info.classes == birds.NAMES
    np.testing.assert_array_equal(slower.train[31]["image"], faster.train[31]["image"])


def test_a_cache_that_cannot_be_written_is_named(config, tiny_cub, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot prepare cub200 in .*set data\.cache_dir or"):
        data.load(config(name="cub200", dir=str(tiny_cub)))


def test_drawn_birds_carry_what_is_known_of_them(config):
    c = config(name="synthetic_birds", size=48, seed=3, counts={"train": 2, "test": 1})
    found = data.load(c, "final")
    assert sizes(found) == (32, 16)
    assert found.info.coarse_classes == birds.FAMILIES
    assert found.info.part_names == birds.PARTS
    assert found.info.separating_parts == birds.separating_parts()
    for i in (0, 13, 31):
        example = found.train[i]
        species = birds.SPECIES[i % 16]
        scene = birds.render(species.name, (3, 0, i), 48, 0.5)
        assert found.info.classes[example["label"]] == species.name
        assert found.info.coarse_classes[example["coarse"]] == species.family
        np.testing.assert_allclose(example["box"], scene.box)
        np.testing.assert_allclose(example["parts"], scene.parts, rtol=1e-6)
        assert np.abs(example["image"].astype(int) - scene.image).mean() < 4  # JPEG


@pytest.mark.parametrize("change", [{"size": 24}, {"seed": 1}, {"difficulty": 0.75}])
def test_other_drawings_have_another_folder(config, tmp_path, change):
    tiny = {"name": "synthetic_birds", "size": 16, "counts": {"train": 1, "test": 1}}
    first, second = (data.load(config(**tiny | also), "final") for also in ({}, change))
    assert first.info.fingerprint != second.info.fingerprint
    assert len(list((tmp_path / "cache" / "synthetic_birds").iterdir())) == 2


@pytest.fixture
def archive(tiny_cub, tmp_path, monkeypatch):
    """A small archive that passes for the official one."""
    path = tmp_path / cub200.ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tiny_cub, "CUB_200_2011")
    monkeypatch.setattr(cub200, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def manual(tmp_path):
    """Where the archive is placed by hand."""
    folder = tmp_path / "cache" / "downloads" / "manual"
    folder.mkdir(parents=True)
    return folder


def test_the_official_archive_placed_by_hand(config, archive, manual):
    shutil.move(archive, manual)
    found = data.load(config(name="cub200"), "final")
    assert sizes(found) == (15, 10)
    assert found.info.fingerprint == cub200.SHA256


def test_an_incomplete_archive_is_refused(config, archive, manual):
    (manual / archive.name).write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="CUB_200_2011.tgz is not the official one or is incompl"):
        data.load(config(name="cub200"), "final")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(archive, monkeypatch):
    """The archive at a local address that takes the place of the official one."""
    handler = functools.partial(Quiet, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        known = UrlInfo(archive.stat().st_size, cub200.SHA256, archive.name)
        monkeypatch.setattr(cub200, "URL", url)
        monkeypatch.setattr(cub200.Cub200, "url_infos", {url: known})
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_the_archive_is_downloaded(config, served):
    assert sizes(data.load(config(name="cub200"), "final")) == (15, 10)


def test_a_download_of_other_bytes_is_refused(config, served, archive):
    archive.write_bytes(b"<html>Try again later</html>")
    with pytest.raises(UserError, match=r"cannot download .*\(NonMatchingChecksumError\)"):
        data.load(config(name="cub200"), "final")


def test_without_network_the_way_out_is_told(config, manual, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError) as raised:
        data.load(config(name="cub200"), "final")
    assert str(raised.value) == (
        f"cannot download {cub200.URL} (ProxyError); check the network, place the archive by hand "
        f"in {manual} as CUB_200_2011.tgz, or set data.dir to a folder in the layout of "
        "CUB_200_2011"
    )
