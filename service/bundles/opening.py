"""Open the bundle in a folder as a model, by whatever runs its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from service.bundles.load import check_place, load_bundle
from service.bundles.model import Model
from service.inference.aside import low_priority, run_aside
from service.inference.onnx.session import SessionConfig


class Opener(Protocol):
    """Make a model of a folder."""

    async def open(self, folder: Path, *, quietly: bool) -> Model:
        """Load and check a bundle aside. Raises `BundleError`.

        It is done `quietly` where requests are answered beside it: their time matters more.
        """


class LocalOpener:
    """Load graphs into this process. `golden` says whether recorded requests are replayed."""

    def __init__(self, config: SessionConfig, *, golden: bool = True) -> None:
        self._config = config
        self._golden = golden

    async def open(self, folder: Path, *, quietly: bool) -> Model:
        return await run_aside(lambda: self._load(folder, quietly))

    def _load(self, folder: Path, quietly: bool) -> Model:
        """Load a bundle, at the lowest priority if that must be quiet.

        With several threads for a run ONNX Runtime starts them here, and they would keep the priority for good.
        """
        with low_priority(quietly and self._config.intra_op_threads == 1):
            model = load_bundle(folder, self._config, golden=self._golden)
        check_place(model.manifest, folder)
        return model
