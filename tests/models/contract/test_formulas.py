"""Formulas are arithmetic as Python does it, and nothing else, whatever text arrives."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.contract.formulas import MAX_LENGTH, Formula, FormulaError, compile_formula

NUMBERS = st.one_of(st.integers(0, 100), st.floats(0, 1e3), st.sampled_from(["1e-3", ".5", "2.", "1_000", "0x10"]))
LEAVES = st.one_of(st.sampled_from(["ctr", "cvr", "price", "α"]), NUMBERS.map(str))


def bigger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["+", "-", "*", "/"]), inner),
        st.builds("({}{}{})".format, inner, st.sampled_from(["+", "-", "*", "/"]), inner),
        st.builds("{}({})".format, st.sampled_from(["-", "+", ""]), inner),
        st.builds("({})**{}".format, inner, st.sampled_from(["2", "0.5", "-1", "3.5", "0", "-0.25"])),
    )


TREES = st.recursive(LEAVES, bigger, max_leaves=12).filter(lambda text: len(text) <= MAX_LENGTH)
VALUES = st.one_of(st.just(0.0), st.floats(-1e3, 1e3))


@settings(max_examples=200, deadline=None)
@given(text=TREES, rows=st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=3))
@example(text="ctr - cvr - price", rows=[(1.0, 2.0, 3.0, 0.0)])
@example(text="-ctr**2", rows=[(3.0, 0.0, 0.0, 0.0)])
@example(text="ctr / cvr / price", rows=[(1.0, 2.0, 4.0, 0.0)])
def test_formulas_compute_what_python_computes(text: str, rows: list[tuple[float, ...]]) -> None:
    columns = dict(zip(("ctr", "cvr", "price", "α"), np.array(rows).T, strict=True))
    found = Formula(text)(columns, len(rows))
    assert found.shape == (len(rows),)
    for value, row in zip(found.tolist(), rows, strict=True):
        try:
            expected = eval(text, {}, dict(zip(columns, row, strict=True)))
        except (ZeroDivisionError, OverflowError):
            continue  # NumPy says infinite or NaN, and whoever asked decides.
        if not isinstance(expected, complex) and math.isfinite(expected):
            assert value == pytest.approx(float(expected), rel=1e-9, abs=1e-300)


def test_names_are_those_in_the_formula() -> None:
    assert Formula("0.5*ctr + 0.5*ctr*cvr - 3").names == {"ctr", "cvr"}
    assert Formula("1 + 2").names == frozenset()


def test_a_constant_formula_still_scores_every_candidate() -> None:
    assert Formula("1 + 2")({}, 3).tolist() == [3.0, 3.0, 3.0]


def test_divisions_by_zero_are_infinite_or_nan_and_not_errors() -> None:
    columns = {"x": np.array([1.0, -1.0, 0.0])}
    np.testing.assert_array_equal(Formula("x/0")(columns, 3), [np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(Formula("(x-2)**0.5")(columns, 3), [np.nan, np.nan, np.nan])
    assert Formula("0*x + 1e300*1e300")(columns, 3).tolist() == [np.inf] * 3


def test_a_formula_does_not_change_its_columns() -> None:
    column = np.array([1.0, 2.0])
    Formula("-x + 1")({"x": column}, 2)
    Formula("+x")({"x": column}, 2)
    assert column.tolist() == [1.0, 2.0]


NOT_ARITHMETIC = [
    "exp(ctr)",
    "__import__('os').system('true')",
    "(1).__class__",
    "ctr.real",
    "ctr[0]",
    "lambda: 1",
    "lambda x=ctr: x",
    "ctr < cvr",
    "ctr == cvr",
    "ctr and cvr",
    "not ctr",
    "~ctr",
    "ctr if cvr else 1",
    "'a'",
    "b'a'",
    "f'{ctr}'",
    "(x := 1)",
    "[ctr]",
    "(ctr, cvr)",
    "ctr,",
    "{ctr}",
    "{}",
    "[x for x in ctr]",
    "(x for x in ctr)",
    "{**ctr}",
    "*ctr",
    "f(*ctr)",
    "await ctr",
    "yield ctr",
    "ctr @ cvr",
    "ctr // cvr",
    "ctr % cvr",
    "ctr << 2",
    "ctr | cvr",
    "1j",
    "...",
    "None",
    "True",
    "ctr**True",
    "ctr**~2",
    "ctr = 1",
    "ctr; cvr",
    "import os",
    "ctr cvr",
    "ctr +",
    "(ctr",
    "ctr)",
    "ctr\ncvr",
    "",
    " ",
    "\n\t",
    "#",
    "\0",
    "ctr\0",
    "\ud800",
    "ctr\N{ZERO WIDTH SPACE}",
    "½",
]
OUT_OF_BOUNDS = [
    "ctr**cvr",
    "ctr**17",
    "ctr**-17",
    "ctr**1e9",
    "ctr**(2)**(3)",
    "2**2**2",
    "9**9**9",
    "9**9**9**9**9",
    "ctr**(1+1)",
    "ctr**--2",
    "ctr**1j",
    "ctr**'2'",
    "1e999",
    "-1e999",
    f"0x{'f' * 280}",
    f"ctr**{'9' * 280}",
    "-" * 290 + "ctr",
    "+".join(["ctr"] * 60),
    "(" * 140 + "ctr" + ")" * 140 + "**2**2",
    "x" * (MAX_LENGTH + 1),
    " " * (MAX_LENGTH + 1) + "ctr",
]


@pytest.mark.parametrize("text", NOT_ARITHMETIC + OUT_OF_BOUNDS, ids=repr)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(FormulaError) as caught:
        Formula(text)
    assert str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [("ctr + exp(cvr)*2", "exp(cvr)"), ("1 + ctr.real", "ctr.real"), ("größe + [1]", "[1]"), ("ctr + 'a'", "'a'")],
)
def test_the_offending_part_is_quoted(text: str, part: str) -> None:
    with pytest.raises(FormulaError, match="may only use names") as caught:
        Formula(text)
    assert str(caught.value).endswith(f"not {part!r}")


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.sampled_from("abx019.eE+-*/()[]{}'\"\\ ,:=<>@%~!#\n\0_ß½\ud800"), max_size=24))
def test_any_text_is_a_formula_over_names_or_a_formula_error(text: str) -> None:
    try:
        formula = Formula(text)
    except FormulaError:
        return
    assert all(name.isidentifier() for name in formula.names)
    assert formula({name: np.ones(2) for name in formula.names}, 2).shape == (2,)


@pytest.mark.parametrize("name", ["__class__", "__builtins__", "α", "größe", "eval"])
def test_a_name_is_only_ever_a_column(name: str) -> None:
    formula = Formula(f"2*{name}")
    assert formula.names == {name}
    assert formula({name: np.array([3.0])}, 1).tolist() == [6.0]


@pytest.mark.parametrize("text", ["[" + "-" * 290 + "x]", "f(" + "-" * 290 + "x)", "lambda:" * 42 + "x"])
def test_refusing_takes_no_more_stack_than_accepting(text: str) -> None:
    """A service calls this from far down; a formula that is refused there must not become a RecursionError."""

    def far_down(frames: int) -> None:
        if frames:
            far_down(frames - 1)
        else:
            with pytest.raises(FormulaError):
                Formula(text)

    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    far_down(max(0, 600 - depth))


def test_a_chain_of_products_over_every_score_is_not_too_deep() -> None:
    text = "+".join(["ctr"] * 40)
    assert Formula(text)({"ctr": np.ones(1)}, 1).tolist() == [40.0]


def test_a_formula_is_compiled_once() -> None:
    assert compile_formula("ctr*cvr") is compile_formula("ctr*cvr")
