"""In which form the hot modules run: compiled, or interpreted. They are all one or all the other (see wheel.py). And where
this very package comes from, for the processes that it starts."""

import os
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import proxy
from proxy import errors


def compiled() -> bool:
    """Whether Python found the compiled modules before their sources."""
    return (errors.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES))


def search_path(environ: Mapping[str, str]) -> str:
    """Where this very package comes from, then what the environment says."""
    here = str(Path(proxy.__path__[0]).parent)
    given = environ.get("PYTHONPATH")
    return f"{here}{os.pathsep}{given}" if given else here
