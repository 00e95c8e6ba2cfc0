"""A cluster that is not there is named within seconds, and so is an extra that is not installed."""

from __future__ import annotations

import signal
import socket
import sys
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.cli import main
from models.distributed import cluster
from models.distributed.cluster import RayCluster, RayError, RayOptions, connected, raised_there
from tests.models.distributed.machines import let_have


@pytest.mark.parametrize(
    "command",
    [
        ("mine", "--data", "x", "--evaluator", "y"),
        ("evaluate", "truth", "--profile", "test"),
        ("evaluate", "degre", "--data", "x"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_an_address_where_nothing_listens_is_named(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pytest.importorskip("ray")
    assert main([*command, "--out", str(tmp_path / "out"), "--ray", f"127.0.0.1:{port}"]) == 2
    assert f"--ray: there is no Ray cluster at 127.0.0.1:{port}: Connection refused" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_no_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(cluster, "_ANSWERING", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(RayError, match=f"{place} accepts connections, but does not answer as a Ray cluster"):
            cluster._require_cluster(place)


@pytest.mark.parametrize("place", ["head", "head:", ":6379", "head:port", "head:70000", "ray://head:10001"])
def test_an_address_of_another_form_is_refused(place: str) -> None:
    with pytest.raises(RayError, match="--ray: must be local, auto or HOST:PORT"):
        cluster._require_cluster(place)


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"needs 'ray'; pip install '\.\[train,ray\]'"), connected(RayOptions("local")):
        pass


def test_sigterm_leaves_a_cluster_as_it_does_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    def wait() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit:
            sys.exit(1)  # as Ray does where it waits

    ended, before = list[bool](), signal.getsignal(signal.SIGTERM)
    machines = [{"Alive": True, "Resources": {"CPU": 1.0}}]
    fake = SimpleNamespace(init=init, shutdown=lambda: ended.append(True), nodes=lambda: machines)
    monkeypatch.setattr(cluster, "load_ray", lambda _: fake)
    monkeypatch.setattr(cluster, "_secure", lambda: None)
    with pytest.raises(SystemExit) as left, connected(RayOptions("local")):
        wait()
    assert left.value.code == 128 + signal.SIGTERM
    assert ended == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_our_code_raised_is_found_behind_an_error_of_ray() -> None:
    class TaskError(Exception):
        cause = ValueError("no such world")

    outer = RuntimeError("a dataset failed")
    outer.__cause__ = TaskError()
    assert raised_there(outer, ValueError, OSError) is raised_there(TaskError(), Exception) is TaskError.cause
    assert raised_there(outer, OSError) is None
    assert raised_there(RuntimeError("no room"), Exception) is None


@pytest.mark.parametrize(
    ("options", "machines", "size", "room"),
    [
        (RayOptions("local"), [{"CPU": 8.0}], 8, 8),
        (RayOptions("local", threads=3), [{"CPU": 8.0}], 2, 2),
        (RayOptions("h:1", workers=4), [{"CPU": 2.0}], 4, 2),
        (RayOptions("local"), [{"CPU": 8.0, "GPU": 2.0}], 2, 2),
        (RayOptions("local", device="cpu"), [{"CPU": 8.0, "GPU": 2.0}], 8, 8),
        (RayOptions("h:1", threads=2), [{"CPU": 3.0}, {"CPU": 3.0}, {}], 2, 2),
        (RayOptions("h:1", threads=4), [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0}], 2, 2),
    ],
)
def test_there_is_a_worker_per_gpu_or_core_of_a_machine(
    options: RayOptions, machines: list[dict[str, float]], size: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_have(monkeypatch, *machines)
    found = RayCluster.at_hand(options)
    assert (found.workers, found.room) == (size, room)


def test_a_cluster_without_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    let_have(monkeypatch, {"CPU": 2.0})
    monkeypatch.setattr(cluster, "_JOINING", 0.0)
    with pytest.raises(RayError, match="no machine of the cluster has a GPU and a CPU"):
        RayCluster.at_hand(RayOptions("h:1", workers=1, device="cuda"))
    with pytest.raises(RayError, match="no machine of the cluster has 3 CPUs"):
        RayCluster.at_hand(RayOptions("h:1", threads=3))


@pytest.mark.parametrize(
    ("options", "machines", "wanted", "gpu", "workers"),
    [
        (RayOptions("auto", device="cpu"), [[{}], [{}], [{"CPU": 4.0}]], "a CPU", False, 4),
        (RayOptions("auto"), [[{}], [{}], [{"CPU": 8.0, "GPU": 2.0}]], "a CPU", True, 2),
        (RayOptions("auto", threads=4), [[{"CPU": 2.0}], [{"CPU": 2.0}, {"CPU": 8.0}]], "4 CPUs", False, 2),
        (
            RayOptions("auto", workers=3, device="cuda"),
            [[{"CPU": 2.0}], [{"CPU": 2.0}], [{"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]],
            "a GPU and a CPU",
            True,
            3,
        ),
    ],
)
def test_a_machine_that_is_still_to_come_is_waited_for_before_anything_is_decided(
    options: RayOptions,
    machines: list[list[dict[str, float]]],
    wanted: str,
    gpu: bool,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    joining = chain(machines, repeat(machines[-1]))
    monkeypatch.setattr(cluster, "_nodes", lambda: next(joining))
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.0)
    found = RayCluster.at_hand(options)
    assert (found.gpu, found.workers) == (gpu, workers)
    told = f"--ray: auto: no machine of the cluster has {wanted} yet; waiting for up to 600 s\n"
    assert capsys.readouterr().err == told


def test_machines_that_do_not_come_are_named_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    let_have(monkeypatch, {})
    monkeypatch.setattr(cluster, "_JOINING", 0.0)
    with pytest.raises(RayError, match=r"no machine of the cluster has a CPU$"):
        RayCluster.at_hand(RayOptions("auto", device="cpu"))


def test_workers_without_a_cluster_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["mine", "--data", "x", "--evaluator", "y", "--out", str(tmp_path), "--workers", "2"]) == 2
    assert "--workers: needs --ray" in capsys.readouterr().err
