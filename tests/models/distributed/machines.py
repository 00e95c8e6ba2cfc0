"""Clusters of made-up machines, for what is decided by their resources."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from models.distributed import cluster
from models.distributed.cluster import RayCluster

TWO_CORES = RayCluster("local", threads=1, gpu=False, room=2, workers=2)


def let_have(monkeypatch: pytest.MonkeyPatch, *machines: dict[str, float]) -> None:
    """Let the cluster have these machines, and one that was lost."""
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    lost = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    monkeypatch.setattr(cluster, "load_ray", lambda _: SimpleNamespace(nodes=lambda: [*nodes, lost]))
