"""Compile score formulas: arithmetic over scores and price, such as ``0.5*ctr + 0.5*ctr*cvr``.

A formula is parsed to a whitelist of operations and compiled once to a chain of NumPy calls; nothing is ever handed to
``eval``. Allowed: names, numbers, ``+ - * / **``, unary sign, parentheses.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np

from models.contract.arrays import Floats

_Node = Callable[[Mapping[str, Floats]], Any]

WEIGHT_NAMES: Final = ("alpha", "beta", "gamma")
"""What formulas call the request's objective weights, in the order of `models.contract.spec.OBJECTIVES`."""

MAX_LENGTH: Final = 300
_MAX_DEPTH: Final = 40
_MAX_EXPONENT: Final = 16.0

_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_UNARY: Final[Mapping[type[ast.unaryop], Callable[[Any], Any]]] = {ast.UAdd: np.positive, ast.USub: np.negative}


class FormulaError(ValueError):
    """Report a formula that is no arithmetic over names and numbers, quoting the offending part."""


class Formula:
    """Compute one formula. Immutable; safe to share between threads."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise FormulaError(f"is longer than {MAX_LENGTH} characters")
        source = text.strip()
        try:
            tree = ast.parse(source, mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else "cannot be parsed"
            raise FormulaError(f"is not an arithmetic expression: {reason}") from None
        names: set[str] = set()
        self.text = text
        self._run = _compile(tree.body, names, source, 0)
        self.names = frozenset(names)
        self.sorted_names = tuple(sorted(names))

    def __call__(self, columns: Mapping[str, Floats], n: int) -> Floats:
        """Compute scores [n] from `columns`, which hold `names`; they may be infinite or NaN."""
        with np.errstate(all="ignore"):
            return self.compute(columns, n)

    def compute(self, columns: Mapping[str, Floats], n: int) -> Floats:
        """Do the same where a caller of several has put NumPy's `errstate` around them."""
        score = np.asarray(self._run(columns), np.float64)
        return score if score.shape == (n,) else np.broadcast_to(score, (n,))


@lru_cache(maxsize=1024)
def compile_formula(text: str) -> Formula:
    """Compile `Formula(text)` once. Raises `FormulaError`."""
    return Formula(text)


def _compile(node: ast.expr, names: set[str], source: str, depth: int) -> _Node:
    if depth > _MAX_DEPTH:
        raise FormulaError(f"is nested deeper than {_MAX_DEPTH} levels")
    match node:
        case ast.Constant(value=value) if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _constant(value)
        case ast.Name(id=name):
            names.add(name)
            return lambda columns: columns[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            sign, inner = _UNARY[type(op)], _compile(operand, names, source, depth + 1)
            return lambda columns: sign(inner(columns))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            if isinstance(op, ast.Pow):
                _check_exponent(right)
            apply = _BINARY[type(op)]
            a, b = _compile(left, names, source, depth + 1), _compile(right, names, source, depth + 1)
            return lambda columns: apply(a(columns), b(columns))
    # Quoted from the source: `ast.unparse` recurses, and a deep stack above would turn that into a RecursionError.
    part = ast.get_source_segment(source, node) or source
    raise FormulaError(f"may only use names, numbers and + - * / **, not {part[:60]!r}")


def _constant(value: int | float) -> _Node:
    try:
        number = np.float64(value)
    except OverflowError:
        raise FormulaError("has a number that is too large") from None
    if not np.isfinite(number):
        raise FormulaError("has a number that is too large")
    return lambda _: number


def _check_exponent(node: ast.expr) -> None:
    value = node.operand if isinstance(node, ast.UnaryOp) else node
    if not (
        isinstance(value, ast.Constant) and isinstance(value.value, (int, float)) and abs(value.value) <= _MAX_EXPONENT
    ):
        raise FormulaError(f"may only raise to a number between -{_MAX_EXPONENT:g} and {_MAX_EXPONENT:g}")
