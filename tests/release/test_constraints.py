"""constraints.txt pins all that the extras install, within what pyproject.toml allows, for any index."""

from __future__ import annotations

import tomllib
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.files import ROOT


def pins(file: str) -> list[Requirement]:
    """The lines of a file of constraints."""
    lines = (ROOT / file).read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


PINS: Final = pins("constraints.txt")
GPU_PINS: Final = pins("constraints-gpu.txt")
CUDA: Final = ("nvidia-", "cuda-", "triton")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: Final = ("cpu", "gpu", "train", "redis", "store", "load", "dev")


def test_every_line_is_one_exact_version_without_a_local_part_and_no_name_comes_twice() -> None:
    for pin in (*PINS, *GPU_PINS):
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert not set(specifier.version) & set("+*"), pin
        assert not pin.url, pin
    names = [canonicalize_name(pin.name) for pin in (*PINS, *GPU_PINS)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_requirement_has_a_pin_that_it_allows(extra: str) -> None:
    requirements = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    found = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        assert name in found, f"{name}: make lock"
        assert requirement.specifier.contains(found[name]), f"{name}: make lock"


def test_cuda_libraries_are_in_a_file_of_their_own_since_another_pytorch_needs_others() -> None:
    assert not [pin.name for pin in PINS if pin.name.startswith(CUDA)]
    assert all(pin.name.startswith(CUDA) for pin in GPU_PINS)


def test_what_onnx_runtime_needs_of_cuda_is_pinned_for_the_image() -> None:
    """What its extras `cuda` and `cudnn` install."""
    names = {canonicalize_name(pin.name) for pin in GPU_PINS}
    wanted = ("cublas", "cuda-nvrtc", "cuda-runtime", "cudnn-cu13", "cufft", "curand", "nvjitlink")
    assert names >= {f"nvidia-{name}" for name in wanted}


def test_the_pytorch_that_make_installs_is_the_pinned_one() -> None:
    (torch,) = (pin for pin in PINS if pin.name == "torch")
    assert f"TORCH ?= {torch}\n" in (ROOT / "Makefile").read_text("utf-8")
