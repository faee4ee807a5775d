"""In which form the hot modules run: compiled, or interpreted. They are all one or all the other (see wheel.py)."""

from importlib.machinery import EXTENSION_SUFFIXES

from proxy import errors


def compiled() -> bool:
    """Whether Python found the compiled modules before their sources."""
    return (errors.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES))
