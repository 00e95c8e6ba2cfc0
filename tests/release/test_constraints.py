"""constraints.txt pins all that the extras install, within what pyproject.toml allows, for any index."""

from __future__ import annotations

import tomllib
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.files import ROOT

LINES: Final = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS: Final = [Requirement(line) for line in LINES if not line.startswith("#")]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: Final = ("cpu", "gpu", "train", "redis", "store", "load", "dev")


def test_every_line_is_one_exact_version_without_a_local_part_and_no_name_comes_twice() -> None:
    for pin in PINS:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert not set(specifier.version) & set("+*"), pin
        assert not pin.url, pin
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_every_requirement_has_a_pin_that_it_allows(extra: str) -> None:
    requirements = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    pins = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name}: make lock"
        assert requirement.specifier.contains(pins[name]), f"{name}: make lock"


def test_cuda_libraries_are_left_to_the_packages_that_need_them() -> None:
    assert not [pin.name for pin in PINS if pin.name.startswith(("nvidia-", "cuda-", "triton"))]


def test_the_pytorch_that_make_installs_is_the_pinned_one() -> None:
    (torch,) = (pin for pin in PINS if pin.name == "torch")
    assert f"TORCH ?= {torch}\n" in (ROOT / "Makefile").read_text("utf-8")
