"""fgjax: fine-grained visual recognition in JAX."""

__version__ = "0.1.0"
