"""The one exception that fgjax raises for what a user can put right."""


class UserError(Exception):
    """A fault in what the user gave: a config key, a folder, a file, a checkpoint.

    Its message is one sentence that names the thing, says what was expected and what to do.
    ``python -m fgjax.main`` prints that sentence and exits with status 2, without a traceback.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, heard at a moment where nothing was lost; its message is one sentence.

    ``python -m fgjax.main`` prints that sentence and exits with status 130, without a traceback.
    """
