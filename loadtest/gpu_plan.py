"""What `loadtest.gpu_check` runs: which bundles on which provider in which way, by which command, into which files."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.proof.requests import random_requests, stack
from loadtest.gpu import cards
from models.contract.manifest import Manifest

CPU: Final = "cpu"
FP32, FP16, DEMO = "fp32", "fp16", "demo"
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64)
_PACKAGES: Final = ("onnxruntime-gpu", "onnxruntime", "onnx", "torch", "numpy", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Way:
    """How an engine runs: on which provider, and there with CUDA graphs or without."""

    provider: str
    graphs: bool

    def __str__(self) -> str:
        if self.provider == CPU:
            return "CPU, one thread"
        return "CUDA graphs" if self.graphs else "CUDA, node by node"


GRAPHS: Final = Way("cuda", graphs=True)
NODES: Final = Way("cuda", graphs=False)
ONE_THREAD: Final = Way(CPU, graphs=False)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A bundle run one way. `held_to_cpu` says that its answers must be proved."""

    bundle: str
    way: Way
    held_to_cpu: bool = False

    def __str__(self) -> str:
        return f"{self.bundle}, {self.way}"

    @property
    def serve_options(self) -> tuple[str, ...]:
        """Options of ``listwright serve``."""
        return ("--provider", self.way.provider, "--cuda-graphs", str(self.way.graphs).lower())


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run does. `provider` is ``cuda``, or ``cpu`` where that stands in for it."""

    out: Path
    demo: Path
    provider: str
    requests: int
    dim: int
    layers: int
    seed: int
    quick: bool

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        """Raises `ValueError` naming an option that is out of range."""
        for name in ("requests", "dim", "layers"):
            if getattr(options, name) < 1:
                raise ValueError(f"--{name}: must be at least 1, not {getattr(options, name)}")
        return cls(**{name: getattr(options, name) for name in cls.__slots__})

    @property
    def made(self) -> tuple[str, ...]:
        """Bundles with random weights that have to be made first."""
        return (FP32, FP16)

    @property
    def contestants(self) -> list[Contestant]:
        """Everything that the engine is timed on. The CPU stands beside, or in its stead."""
        if self.provider == CPU:
            return [Contestant(bundle, ONE_THREAD, held_to_cpu=True) for bundle in (FP32, FP16, DEMO)]
        on_gpu = [Contestant(b, way, held_to_cpu=True) for b in (FP32, FP16, DEMO) for way in (GRAPHS, NODES)]
        return [*on_gpu, *(Contestant(bundle, ONE_THREAD) for bundle in (FP32, DEMO))]

    @property
    def served(self) -> list[Contestant]:
        """Everything that the service is timed with."""
        if self.provider == CPU:
            return [Contestant(FP32, ONE_THREAD)]
        return [Contestant(b, w) for b, w in ((FP32, GRAPHS), (FP16, GRAPHS), (FP32, NODES), (FP32, ONE_THREAD))]

    @property
    def service_requests(self) -> int:
        """Requests of one closed loop."""
        return 300 if self.quick else 1500

    def folder(self, bundle: str) -> Path:
        """Where a bundle lies. Those with random weights have a root each, so that each is served alone."""
        return self.demo if bundle == DEMO else self.out / "bundles" / bundle / "bench" / "1"

    def file(self, kind: str, contestant: Contestant, suffix: str) -> Path:
        """Where something about a contestant goes."""
        name = str(contestant).replace(",", "").replace(" ", "-")
        return self.out / kind / f"{name}.{suffix}"

    def requests_file(self, bundle: str) -> Path:
        """Where the requests are that parity is proved with."""
        return self.out / "requests" / f"{bundle}.npz"

    def bundle_command(self, bundle: str) -> list[str]:
        """Make a bundle with random weights."""
        sizes = ("--dim", str(self.dim), "--layers", str(self.layers), "--seed", str(self.seed))
        root = ("--out", str(self.folder(bundle).parents[1]), "--requests", "25")
        return [sys.executable, "-m", "export.bench.bundle", *root, *sizes, "--precision", bundle]

    def engine_command(self, contestant: Contestant) -> list[str]:
        """Time an engine, and answer the requests if they are to be proved."""
        way = contestant.way
        command = [
            *(sys.executable, "-m", "service.engine_bench", "--bundle", str(self.folder(contestant.bundle))),
            *("--provider", way.provider, "--graphs" if way.graphs else "--no-graphs"),
            *("--batches", ",".join(map(str, _SIZES)), "--seconds", "0.5" if self.quick else "1.5"),
            *("--json", str(self.file("engine", contestant, "json"))),
        ]
        if contestant.held_to_cpu:
            answers = self.file("answers", contestant, "npz")
            command += ["--requests", str(self.requests_file(contestant.bundle)), "--answers", str(answers)]
        return command


def save_requests(plan: Plan, bundle: str) -> None:
    """Random and edge requests for a bundle, as its graph takes them. Raises `models.contract.spec.SpecError`."""
    manifest = Manifest.read(plan.folder(bundle))
    any_slots = manifest.family == "degre"
    requests = list(random_requests(manifest.spec, manifest.limits, plan.requests, plan.seed, any_slots=any_slots))
    path = plan.requests_file(bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **stack(requests))


def about(plan: Plan) -> dict[str, Any]:
    """Where, when and with what."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "command": shlex.join(["python", "-m", "loadtest.gpu_check", *sys.argv[1:]]),
        "provider": plan.provider,
        "cards": cards(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, {platform.system()}",
        "versions": {"python": platform.python_version(), **_versions()},
        "seed": plan.seed,
        "model": {"dim": plan.dim, "layers": plan.layers, "list_length": 10, "queues": 3, "candidates": 100},
        "parity_requests": plan.requests,
        "quick": plan.quick,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
