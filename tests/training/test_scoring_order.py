"""A checkpoint is saved before it is scored: nothing that happens while scoring loses it."""

import itertools

import jax.numpy as jnp
import pytest

from fgjax.finetune import optimizer, schedule
from fgjax.finetune.intervals import from_record
from fgjax.ops import trees
from fgjax.training import checkpoints, loop, outcomes, parallel, restoring
from fgjax.training.logs import MetricLogger, read
from fgjax.training.state import initial_state

# Scores by step: the first phase settles at step 6, of 8 planned, the second runs to its end.
SCORES = {2: 0.4, 4: 0.7, 6: 0.6, 8: 0.5, 10: 0.7}
PHASES = (
    dict(name="first", steps=8, train={"head": 1.0}, patience=1),
    dict(name="second", steps=4, train={"conv5": 1.0, "head": 0.5}, restore_best=True),
)


class Killed(BaseException):
    """Stands for what cannot be caught: SIGKILL, the out-of-memory killer."""


def start():
    leaves = {"conv5": {"kernel": jnp.zeros(2)}, "head": {"kernel": jnp.ones(2)}}
    return initial_state({"params": leaves, "batch_stats": {}, "constants": {}}, False, {})


def compiled(phase, _):
    def step(state, _):
        params = {
            group: {"kernel": leaves["kernel"] * 1.5 + (group in phase.groups)}
            if group in phase.groups
            else leaves
            for group, leaves in state.params.items()
        }
        metrics = {"loss": 1.0, "gradient_norm": 1.0, "accuracy": 0.5}
        return state.replace(step=state.step + 1, params=params), metrics

    return step


def session(where, score):
    """One process: what it finds in the folder it goes on from."""
    state, recorded = restoring.restored_state(where, start(), lambda line: None)
    phases = from_record(recorded["schedule"]) if recorded else schedule.resolve(PHASES, 12)
    ended = []
    plan = loop.Plan(
        phases=phases,
        compile=compiled,
        batches=lambda *_: itertools.repeat(None),
        measure=None,
        cost=lambda *_: {},
        score=lambda phase, state: score(int(state.step)),
        monitor="top1",
        chance=float("inf"),
        optimizer=optimizer.create("sgd"),
        assignment={"conv5/kernel": "conv5", "head/kernel": "head"},
        mesh=parallel.make_mesh(1),
        workdir=where,
        batch_size=1,
        score_every=2,
        save_every=1,
        log_every=2,
        plateau=loop.Plateau(**recorded["plateau"]) if recorded else loop.Plateau(),
        unscored=bool(recorded and recorded["unscored"]),
        meta={},
    )
    with (
        checkpoints.manager(where, best_by="top1") as manager,
        MetricLogger(where, int(state.step), scored=not plan.unscored) as logger,
    ):
        watch = loop.Watch(logger.write, lambda *_: None, ended.append, lambda line: None, bool)
        state = loop.run(plan, state, manager, watch)
    return state, [(phase["name"], phase["stop"]) for phase in ended]


def outcome(where, state, ended):
    """All that a run leaves, without its times."""
    rows = [{k: v for k, v in row.items() if k != "time"} for row in read(where)]
    meta = checkpoints.read_meta(where, checkpoints.steps(where)[-1])
    return (
        trees.digest(state.params),
        rows,
        ended,
        checkpoints.chosen_step(where, best_by="top1"),
        checkpoints.steps(where),
        {name: meta[name] for name in ("schedule", "plateau", "score", "unscored")},
    )


def scored(step):
    return {"top1": SCORES[step]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    where = tmp_path_factory.mktemp("whole")
    return outcome(where, *session(where, scored))


def test_the_run_ends_its_phases_and_keeps_its_best_as_the_scores_say(whole):
    _, rows, ended, best, kept, meta = whole
    assert ended == [("first", 6), ("second", 10)]
    assert best == 10 and 10 in kept
    assert [row["step"] for row in rows if "validation/top1" in row] == [2, 4, 6, 8, 10]
    assert meta["score"] == {"top1": 0.7} and not meta["unscored"]


@pytest.mark.parametrize(
    ("moment", "at"),
    [
        *(("scoring", step) for step in (2, 4, 6, 10)),
        *(("proving", step) for step in (6, 10)),
        *(("recording", step) for step in (4, 6, 10)),
    ],
)
def test_a_run_that_dies_at_a_score_keeps_its_checkpoint_and_ends_as_if_it_had_not(
    whole, tmp_path, monkeypatch, moment, at
):
    def dying(step):
        if step == at and moment == "scoring":
            raise Killed
        return scored(step)

    def record(where, step, values, real=checkpoints.complete):
        if step == at:
            raise Killed
        real(where, step, values)

    def audited(before, state, *rest, real=outcomes.audit.check):
        if int(state.step) == at:
            raise Killed
        return real(before, state, *rest)

    with monkeypatch.context() as patched:
        if moment == "recording":
            patched.setattr(outcomes.checkpoints, "complete", record)
        elif moment == "proving":
            patched.setattr(outcomes.audit, "check", audited)
        with pytest.raises(Killed):
            session(tmp_path, dying)
    assert checkpoints.steps(tmp_path)[-1] == at
    assert checkpoints.read_meta(tmp_path, at)["unscored"]
    state, ended = session(tmp_path, scored)
    digest, rows, _, *rest = outcome(tmp_path, state, ended)
    assert (digest, rows, *rest) == (*whole[:2], *whole[3:])
    assert ended == [phase for phase in whole[2] if phase[1] >= at]


def test_a_resumed_run_scores_first_and_repeats_no_step(tmp_path):
    def failing(step):
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        session(tmp_path, failing)
    asked = []

    def watched(step):
        asked.append(step)
        return scored(step)

    session(tmp_path, watched)
    assert asked == [2, 4, 6, 8, 10]


def test_a_phase_whose_proof_failed_is_not_passed_over_by_starting_again(tmp_path, monkeypatch):
    def moved(*_):
        raise outcomes.audit.AuditError("conv5 changed")

    monkeypatch.setattr(outcomes.audit, "check", moved)
    for _ in range(2):
        with pytest.raises(outcomes.audit.AuditError):
            session(tmp_path, scored)
    assert checkpoints.steps(tmp_path)[-1] == 6


def test_a_record_that_was_cut_short_is_made_again(tmp_path, whole):
    state, _ = session(tmp_path, scored)
    path = tmp_path / "checkpoints" / "10" / "outcome.json"
    path.write_text(path.read_text()[:20])
    assert checkpoints.read_meta(tmp_path, 10)["unscored"]
    again, ended = session(tmp_path, scored)
    assert ended == [("second", 10)]
    assert outcome(tmp_path, again, [])[3:] == whole[3:]
    assert trees.digest(state.params) == trees.digest(again.params)


def test_the_best_is_kept_while_it_is_the_best(tmp_path):
    falling = {step: {"top1": 1 - step / 100} for step in SCORES}
    session(tmp_path, lambda step: falling[step] if step != 6 else {"top1": 0.99})
    assert checkpoints.chosen_step(tmp_path, best_by="top1") == 6
