"""Tasks: what is learned, measured and shown; ``base`` says what a task is."""

from __future__ import annotations

import importlib

from fgjax.errors import UserError
from fgjax.tasks import classification
from fgjax.tasks.base import Task

TASKS: dict[str, Task] = {"classification": classification.TASK}


def resolve(name: str) -> Task:
    """The task that ``config.task`` names: one of fgjax's own, or "package.module:NAME".

    Raises:
        UserError: there is no such task.
    """
    if name in TASKS:
        return TASKS[name]
    module, colon, value = name.partition(":")
    if not (module and colon and value):
        raise UserError(
            f"task is {name!r}; choose one of {', '.join(TASKS)}, or name your own as "
            "package.module:NAME"
        )
    try:
        found = getattr(importlib.import_module(module), value)
    except Exception as error:  # a module is its writer's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"task is {name!r}, which cannot be imported ({reason})") from error
    if not isinstance(found, Task):
        raise UserError(
            f"task is {name!r}, a {type(found).__name__}; expected a fgjax.tasks.base.Task"
        )
    return found
