"""The command line: what the user got wrong ends in one sentence and exit status 2."""

import io
import re
import subprocess
import sys
from contextlib import redirect_stderr

import pytest

from fgjax import main
from fgjax.run import modes

QUICKSTART = "--config=configs/quickstart.py"


@pytest.fixture(autouse=True)
def _fresh_config_module(monkeypatch):
    # ml_collections executes every config file into this one module.
    monkeypatch.delitem(sys.modules, "config_config", raising=False)


def refusal(*arguments):
    with pytest.raises(main.UserError) as caught:
        main.main(["fgjax", *arguments])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--confg=x"], "Unknown command line flag 'confg'"),
        (["--mode=tran", "--workdir=x"], "tran"),
        ([QUICKSTART], "--workdir is missing"),
        (["--workdir=x"], "--config is missing"),
        (["--config=configs/absent.py", "--workdir=x"], "cannot read the config file"),
        ([f"{QUICKSTART}:size=3", "--workdir=x"], "no argument 'size'; it takes weights, tiny"),
        ([f"{QUICKSTART}:tiny=3", "--workdir=x"], "tiny=3 should be of type bool"),
        ([QUICKSTART, "--config.train.epoch=2", "--workdir=x"], 'no such key: .*"epochs"'),
        ([QUICKSTART, "--config.train.epochs=two", "--workdir=x"], "'two'"),
        ([QUICKSTART, "--config.train.epochs.a=2", "--workdir=x"], "no such key"),
        ([QUICKSTART, "--config.train=2", "--workdir=x"], "is not a dict"),
    ],
)
def test_faulty_flags(arguments, sentence):
    assert re.search(sentence, refusal(*arguments))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "defines no function get_config"),
        ("import no_such_module", "No module named 'no_such_module'.*config.py, line 1"),
        ("def get_config(a=''):\n    return 1 / 0", "ZeroDivisionError.*config.py, line 2"),
        (
            "from fgjax.config import default\n"
            "def get_config(a=''):\n    c = default()\n    c.train.epoch = 3\n    return c",
            "no such key: .*epoch",
        ),
    ],
)
def test_faulty_config_files(tmp_path, text, sentence):
    path = tmp_path / "config.py"
    path.write_text(text)
    assert re.search(sentence, refusal(f"--config={path}", "--workdir=x"))


def test_a_sentence_on_stderr_and_status_two(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fgjax", "--mode=evaluate", "--workdir=/nowhere/at/all"])
    stderr = io.StringIO()
    with redirect_stderr(stderr), pytest.raises(SystemExit) as status:
        main.run()
    assert status.value.code == 2
    assert stderr.getvalue().startswith("fgjax: there is no run in /nowhere/at/all")
    assert stderr.getvalue().count("\n") == 1


def test_overrides_and_images_after_the_flags():
    values = main.parse(
        ["fgjax", f"{QUICKSTART}:tiny", "--config.train.epochs=7", "--images=a.jpg", "b.jpg"]
    )
    assert values.config.train.epochs == 7.0
    assert values.config.data.image_size == 64
    assert values.images == ["a.jpg", "b.jpg"]


def test_help(capsys):
    main.main(["fgjax", "--help"])
    assert "--[no]check" in capsys.readouterr().out


def test_every_mode_has_its_flags_and_a_mistyped_flag_does_not_wait_for_jax():
    program = "import sys; from fgjax import main; main.parse(['fgjax', '--split=test', 'a.jpg'])"
    subprocess.run(
        [sys.executable, "-c", f"{program}; assert 'jax' not in sys.modules"], check=True
    )
    assert {"split", "images", "check"} <= set(main.parse(["fgjax"]))
    assert main.parse(["fgjax"])["mode"].parser.enum_values == list(modes.MODES)
