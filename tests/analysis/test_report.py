"""The report from end to end, on a small untrained network."""

import json
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
import tiny_run
from PIL import Image

from fgjax.analysis import evidence, explain, page
from fgjax.errors import UserError
from fgjax.run import analyze, train


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def few_perturbations():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "ERRORS", 16)
        patch.setattr(evidence, "BATCH", 8)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    where = tmp_path_factory.mktemp("runs") / "bare <tiny>"
    content = analyze.analyze_runs([str(where)], tiny_run.config(cache), False)
    return where / "report", content


class Page(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def shown(run):
    return Page((run[0] / "index.html").read_text())


def test_json_holds_what_was_returned_and_no_nan(run):
    folder, content = run
    text = (folder / "report.json").read_text()
    stored = json.loads(text, parse_constant=pytest.fail)
    assert stored == json.loads(json.dumps(page.plain(content)))
    assert stored["data"]["probed"] is True  # a head that was never trained
    assert list(stored["levels"]) == ["conv1", "conv2", "conv3", "embedding"]
    assert stored["levels"]["conv3"]["stride"] == 8
    top1 = stored["decision"]["top1"]
    assert top1["n"] == 32
    assert top1["low"] <= top1["value"] <= top1["high"]


def test_every_part_of_the_hierarchy_is_measured(run):
    _, content = run
    for level in ("conv1", "conv2", "conv3"):
        read_outs = content["levels"][level]["read_outs"]
        assert {"average", "second_order", "random average"} <= read_outs.keys()
        assert set(read_outs["average"]) == {"fine", "coarse", "coarse_shared"}
        assert {"log_me", "h_score", "trans_rate"} == content["levels"][level][
            "transferability"
        ].keys()
        assert content["levels"][level]["receptive_field"] > 1
    assert [step["to"] for step in content["passage"]] == [
        "conv2",
        "conv3",
        "average pooling",
        "network",
    ]
    own = np.diag(content["similarity"]["cka"])
    np.testing.assert_allclose(own, 1.0)
    assert set(content["parts"]["levels"]) == {"conv1", "conv2", "conv3"}
    assert len(content["errors"]) == round(32 * (1 - content["decision"]["top1"]["value"]))
    assert content["advice"]["options"]


def test_page_asks_nothing_of_the_network(shown):
    for tag, attributes in shown.tags:
        assert tag not in ("script", "iframe", "object")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    style = (page.html.resources.files(page).joinpath("style.css")).read_text()
    assert "url(" not in style
    assert "@import" not in style


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def console(page, tmp_path):
    """What a browser has to say of a page: script errors, and requests that its policy refuses."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser is at hand: none of {', '.join(BROWSERS)}")
    picture = tmp_path / "page.png"
    said = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            "--disable-background-networking",
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=390,2000", f"--screenshot={picture}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert picture.exists(), said.stderr
    return [line for line in said.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_has_nothing_to_complain_of(run, tmp_path):
    assert console(run[0] / "index.html", tmp_path) == []
    page = tmp_path / "asks.html"
    text = (run[0] / "index.html").read_text()
    page.write_text(text.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    (refused,) = console(page, tmp_path)
    assert "Content Security Policy" in refused


def test_page_can_be_read_by_all(shown):
    assert ("html", {"lang": "en"}) in shown.tags
    ids = [a["id"] for _, a in shown.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for t, a in shown.tags if t == "a"]
    assert set(links) <= set(ids)
    assert all(a["alt"] for t, a in shown.tags if t == "img")
    assert sum(t == "h1" for t, _ in shown.tags) == 1
    assert "bare <tiny>" in shown.text  # escaped in the source


def test_files_lie_beside_the_page(run):
    folder, _ = run
    assert (folder / "figures" / "depth.svg").exists()
    with Image.open(folder / "pictures" / "units-conv1.png") as picture:
        assert picture.size[0] > 100


def test_runs_are_set_side_by_side(run, monkeypatch):
    folder, content = run
    asked = {}
    monkeypatch.setattr(
        analyze, "_analyze", lambda where, config, check, beside: asked.update({where: beside})
    )
    analyze.analyze_runs([str(folder.parent.parent / "new"), str(folder.parent)], None, False)
    (beside,) = asked.values()  # the report that is there is not made again
    assert beside == [page.plain(content)]
    text = page.sections.comparison(beside[0], [beside[0] | {"name": "a & b"}])
    assert "a &amp; b" in text
    assert text.count("<tr>") == 1 + 3 + 2 * 3 + len(content["causes"])


def test_one_photo_a_class_without_families_or_parts_and_advice_that_is_tested(
    tmp_path, cache, monkeypatch
):
    monkeypatch.setattr(train, "train", lambda config, folder: {"validation": {"top1": 0.5}})
    rng = np.random.default_rng(0)
    for name, shade in (("dark", 60), ("light", 190)):
        for split in ("train", "val"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            pixels = rng.normal(shade, 30, (64, 64, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / split / name / "photo.png")
    config = tiny_run.config(cache, "develop")
    with config.unlocked():
        config.data.name, config.data.dir = "image_folder", str(tmp_path / "data")
    content = analyze.analyze_runs([str(tmp_path / "run")], config, True)
    assert content["data"]["train"] == content["data"]["evaluated"] == 2
    assert content["similarity"]["cka"] == []  # it takes four images
    assert content["advice"]["check"]["baseline"] == 0.5
    assert content["parts"] is None
    assert content["occlusion"] is None
    text = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "would need annotated parts" in text
    assert "would need coarse labels" in text
    assert "Short trainings from a baseline of 50.0" in text


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no run in"):
        analyze.analyze_runs([str(tmp_path / "nothing")])
