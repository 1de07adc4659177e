"""fgjax: fine-grained visual recognition in JAX."""

__version__ = "0.1.0"

__all__ = ["__version__", "load"]


def __getattr__(name):
    """``fgjax.load``, imported when first used: the command line need not wait for it."""
    if name == "load":
        from fgjax.run.trained import load

        return load
    raise AttributeError(f"module 'fgjax' has no attribute {name!r}")
