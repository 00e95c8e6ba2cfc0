"""Where a trained model came from: what every checkpoint's provenance says first. Plain JSON."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from models.data.lists import read_metadata
from models.files import file_digest
from models.training.loop import TrainOptions


def origin(data: Path, family: str, options: TrainOptions) -> dict[str, Any]:
    """Family, list file with its SHA-256 and metadata, seed, options and versions."""
    return {
        "family": family,
        "data": {"file": data.name, "sha256": file_digest(data), "metadata": read_metadata(data)},
        "seed": options.seed,
        "options": dataclasses.asdict(options),
        "versions": {
            "listwright": version("listwright"),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
