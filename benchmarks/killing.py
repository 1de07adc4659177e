"""Kill a run in a chosen stage of its work, without a hook in the code that does the work.

Python tells an audit hook of every file that is opened, renamed or removed. These events, and a few
of our own, say where in its work a process is: a stage begins at one event and is over at another.
A run is killed (SIGKILL) where a stage begins, where it is over, or a random time between; a file
that is about to take another one's place is killed half written.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

BEGIN, STEP, STEPPED, END = (f"fgjax.{name}" for name in ("begin", "step", "stepped", "end"))
FILES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
LIMIT = 300.0  # seconds until a run that neither ends nor dies is given up

Run = Callable[[Path, str], None]  # (its folder, a setting) -> trains there, or goes on
Profile = Mapping[str, Mapping[int, float]]  # stage -> seconds of its n-th time


class Event(NamedTuple):
    """What a process is about to do: its kind, and the path in the run's folder that it is for."""

    kind: str
    path: str = ""


Test = Callable[[Event], bool]


class Stage(NamedTuple):
    """A stretch of a run, from one event to another.

    At ``cut`` the file that it began with can be left half written.
    """

    begins: Test
    over: Test
    cut: Test | None = None


class Moment(NamedTuple):
    """When to kill.

    Attributes:
        stage: a key of ``STAGES``.
        nth: which one of a stage that comes several times, from 0.
        where: "begin", "within" or "end" of it.
        share: of its duration, or of the file that is cut, that comes before; used "within".
        seconds: how long the stage took when nobody killed it.
    """

    stage: str
    nth: int = 0
    where: str = "begin"
    share: float = 0.0
    seconds: float = 0.0


def on(kinds: str, pattern: str = "") -> Test:
    """Whether an event is one of these kinds (words) and its whole path fits the pattern."""
    names, wanted = kinds.split(), re.compile(pattern)
    return lambda event: event.kind in names and wanted.fullmatch(event.path) is not None


def replacing(pattern: str) -> Stage:
    """A file is written beside the old one, then takes its place."""
    temporary = rf"(.*/)?\.{pattern}\.\d+\.tmp"
    return Stage(on("open", temporary), on("os.remove", temporary), on("os.rename", temporary))


SAVED = r"checkpoints/\d+"
SAVING = SAVED + r"\.orbax-checkpoint-tmp"
LOCK, BETWEEN, AFTER = "a lock is taken", "between two steps", "end, after the last step"
STAGES: Mapping[str, Stage] = {
    "start, before the first step": Stage(on(BEGIN), on(STEP)),
    LOCK: Stage(on("open", r"(.*/)?[^/]*\.lock.*"), lambda event: True, lambda event: True),
    "features are stored": Stage(
        on("open", r"features/.*\.npy"), on(f"open {STEP}", r"|features/.*/complete")
    ),
    "in a step": Stage(on(STEP), on(STEPPED)),
    BETWEEN: Stage(on(STEPPED), on(f"{STEP} {END}")),
    "a checkpoint is written": Stage(on("os.mkdir", SAVING), on("os.rename", SAVING)),
    "an old checkpoint is removed": Stage(on("shutil.rmtree", SAVED), on("os.rmdir", SAVED)),
    "results.json is written": replacing(r"results\.json"),
    "another record is written": replacing(r"(?!results\.json).*"),
    AFTER: Stage(on(STEPPED), on(f"{STEP} {END}")),
}


class Place:
    """Where in a stage a process is, from event to event; ``path`` is what the stage began with."""

    def __init__(self, stage: Stage):
        self.stage, self.nth, self.inside, self.path = stage, -1, False, ""

    def after(self, event: Event) -> Iterable[tuple[int, str]]:
        """(n, "begin", "cut" or "end") of every n-th time of the stage that the event concerns."""
        if self.inside and self.stage.cut is not None and self.stage.cut(event):
            yield self.nth, "cut"
        if self.inside and (self.stage.over(event) or event.kind == END):
            self.inside = False
            yield self.nth, "end"
        if not self.inside and self.stage.begins(event):
            self.inside, self.nth, self.path = True, self.nth + 1, event.path
            yield self.nth, "begin"


def listen(folder: Path, tell: Callable[[Event], object]) -> None:
    """Tell of every event in ``folder``, and of our own, until the process ends."""
    prefix = f"{folder}/"

    def hook(kind: str, arguments: tuple) -> None:
        if kind.startswith("fgjax."):
            tell(Event(kind))
        elif kind in FILES and arguments[:1] and not (kind == "open" and arguments[1] == "r"):
            path = arguments[0]
            path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
            if path.startswith(prefix):
                tell(Event(kind, path.removeprefix(prefix)))

    sys.addaudithook(hook)


def profile(run: Run, folder: Path, setting: str) -> Profile:
    """Let a run go to its end: how often each stage came, and how long it took."""
    kept = folder.with_suffix(".events")

    def recorded() -> None:
        events: list[tuple] = []
        listen(folder, lambda event: events.append((time.monotonic(), *event)))
        _announced(run, folder, setting)
        kept.write_text(json.dumps(events))

    if status := ended(forked(recorded, folder)):
        said = folder.with_suffix(".log").read_text()
        raise RuntimeError(f"the run was to go to its end and ended with {status}: {said}")
    events = json.loads(kept.read_text())
    return durations([(seconds, Event(*event)) for seconds, *event in events])


def durations(events: Iterable[tuple[float, Event]]) -> Profile:
    """{stage: {n: seconds of its n-th time}} of the events of a whole run, each with its time."""
    found: dict[str, dict[int, float]] = {name: {} for name in STAGES}
    places = {name: Place(stage) for name, stage in STAGES.items()}
    for seconds, event in events:
        for name, place in places.items():
            for nth, what in place.after(event):
                if what != "cut":
                    found[name][nth] = seconds - found[name].get(nth, 0.0)
    last = len(found[AFTER]) - 1  # behind every step lies the next one, or the end
    found[BETWEEN].pop(last, None)
    found[AFTER] = {nth: found[AFTER][nth] for nth in found[AFTER] if nth == last}
    return {name: stretches for name, stretches in found.items() if stretches}


def kill(run: Run, folder: Path, setting: str, moment: Moment) -> str:
    """Start a run and kill it at a moment.

    Returns:
        The stage in which it was killed: if that of the moment never came, the last one.

    Raises:
        RuntimeError: it ended by itself.
    """
    heard, told = os.pipe()

    def doomed() -> None:
        listen(folder, _trap(moment, folder, told))
        _announced(run, folder, setting)

    process = forked(doomed, folder)
    os.close(told)
    ready, _, _ = select.select([heard], [], [], LIMIT)
    word = os.read(heard, 1) if ready else b""
    if word == b"w":
        time.sleep(moment.share * moment.seconds)
        os.kill(process, signal.SIGKILL)
    os.close(heard)
    if (status := ended(process)) != -signal.SIGKILL:
        raise RuntimeError(f"the run was to be killed and ended with {status}")
    return moment.stage if word else AFTER


def _trap(moment: Moment, folder: Path, told: int) -> Callable[[Event], None]:
    """What kills this process at the moment, or asks for it a while later."""
    place = Place(STAGES[moment.stage])

    def spring(word: bytes) -> None:
        os.write(told, word)
        os.kill(os.getpid(), signal.SIGKILL)

    def tell(event: Event) -> None:
        for nth, what in place.after(event):
            if nth != moment.nth:
                continue
            if what in (moment.where, "end"):
                spring(b"k")
            elif moment.where == "within" and what == "cut":
                half = folder / place.path
                os.truncate(half, round(moment.share * half.stat().st_size))
                spring(b"k")
            elif moment.where == "within" and place.stage.cut is None:
                os.write(told, b"w")
        if event.kind == END:
            os.kill(os.getpid(), signal.SIGKILL)

    return tell


def _announced(run: Run, folder: Path, setting: str) -> None:
    sys.audit(BEGIN)
    run(folder, setting)
    sys.audit(END)


def forked(work: Callable[[], None], folder: Path) -> int:
    """Do some work in a process of its own, which says what it says to ``FOLDER.log``: its id."""
    sys.stdout.flush()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if process := os.fork():
        return process
    try:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        work()
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def ended(process: int) -> int:
    """Wait for a process, at most ``LIMIT`` seconds: what it exits with, or minus its signal."""
    since = time.monotonic()
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - since > LIMIT:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
