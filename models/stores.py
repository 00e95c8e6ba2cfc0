"""Open the stores that URLs name: those of fsspec (``s3://``, ``gs://``, ``https://``, ``memory://``, …)."""

from __future__ import annotations

import importlib
from typing import Any


class NoStoreError(ValueError):
    """Report that a package for the store of a URL is not installed."""


def open_store(url: str) -> tuple[Any, str]:
    """Find the fsspec file system of a URL, and the path there.

    A path of this machine is a URL, too. Raises `NoStoreError` if a package is missing, else the store's own errors.
    """
    try:
        fsspec = importlib.import_module("fsspec")
        store, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise NoStoreError(f"{url}: {error}; needs the extra store: pip install '.[store]' in a checkout") from error
    return store, str(path)


def store_problem(error: Exception) -> str:
    """Say in words why a store refused; every store has errors of its own."""
    return "there is no such file or folder" if isinstance(error, FileNotFoundError) else str(error) or repr(error)
