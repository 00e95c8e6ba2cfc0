"""Whether CUDA works is asked of a child, whatever that or a library in it prints."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import onnxruntime as ort
import pytest

from service.inference.onnx.choose import NO_CUDA_BUILD
from service.inference.onnx.session import PROVIDERS
from service.workers.cuda_probe import why_no_cuda_aside

_OFFERED = [PROVIDERS["cuda"], PROVIDERS["cpu"]]


def test_without_the_provider_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDERS["cpu"]])
    monkeypatch.setattr(sys, "executable", "/none")
    assert why_no_cuda_aside() == NO_CUDA_BUILD


def test_a_child_says_that_this_build_has_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: _OFFERED)
    assert why_no_cuda_aside(2) == f"GPU 0: {NO_CUDA_BUILD}"


def _child(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = tmp_path / "python"
    launcher.write_text(f"#!{sys.executable}\n{code}\n", "utf-8")
    launcher.chmod(stat.S_IRWXU)
    monkeypatch.setattr(sys, "executable", str(launcher))
    monkeypatch.setattr(ort, "get_available_providers", lambda: _OFFERED)


def test_what_libraries_print_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, sys\n"
        "from service.workers import cuda_probe\n"
        "def noisy(device):\n"
        "    print('Failed to load libcublas')\n"
        "    os.system('echo from C')\n"
        "    return None if device == 0 else 'no such device'\n"
        "cuda_probe.why_no_cuda = noisy\n"
        "sys.argv = ['probe', sys.argv[-1]]\n"
        "cuda_probe.main()"
    )
    _child(tmp_path, code, monkeypatch)
    assert why_no_cuda_aside() is None
    assert why_no_cuda_aside(2) == "GPU 1: no such device"


@pytest.mark.parametrize(
    ("code", "why"),
    [("import os; os.abort()", "ended with status -6"), ("print('hello')", "ended with status 0")],
)
def test_a_child_that_crashes_or_says_nothing_of_use_is_a_problem(
    code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _child(tmp_path, code, monkeypatch)
    assert why in str(why_no_cuda_aside())


def test_a_child_that_cannot_be_started_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: _OFFERED)
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    assert "failed" in str(why_no_cuda_aside())
