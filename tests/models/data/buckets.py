"""A server of the S3 protocol on this machine, to read lists from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WITHOUT_STORE = "the extra `store` is not installed"


@contextmanager
def running_bucket(name: str) -> Iterator[str]:
    """Serve an empty bucket while the block runs, and give its URL; skip where what is needed is not installed."""
    server = pytest.importorskip("moto.server", reason="moto, which serves S3 in tests, is not installed")
    pytest.importorskip("s3fs", reason=WITHOUT_STORE)
    fsspec = pytest.importorskip("fsspec", reason=WITHOUT_STORE)
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(variable, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        running.start()
        try:
            host, port = running.get_host_and_port()
            patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
            # A store that was opened before would still call the server of then.
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            fsspec.filesystem("s3").mkdir(name)
            yield f"s3://{name}"
        finally:
            running.stop()


def put(folder: Path, url: str) -> None:
    """Copy a folder's files to a store."""
    fsspec = pytest.importorskip("fsspec", reason=WITHOUT_STORE)
    store, path = fsspec.core.url_to_fs(url)
    for file in folder.iterdir():
        store.pipe_file(f"{path}/{file.name}", file.read_bytes())
