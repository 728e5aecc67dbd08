"""Double precision without touching the caller's global setting, and checks of parameters at construction.

JAX computes in single precision unless `jax_enable_x64` is set. A quote needs more than that, a library must not
flip a global switch, so every public number crosses the border here: it enters as float64, and leaves as NumPy
(a float64 JAX array would silently become float32 at the caller's first operation outside the block).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

_F = TypeVar("_F", bound=Callable[..., Any])


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a JAX tracer, that is, whether we are inside `jit`, `grad` or `vmap`."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def parameter(value: Any) -> Any:
    """A model parameter as a float64 NumPy array, or the tracer it is.

    One leaf type for Python floats, NumPy scalars and JAX arrays alike: nothing recompiles when the type changes.
    """
    if isinstance(value, Tracer) or (type(value) is object):  # JAX rebuilds trees with placeholder leaves
        return value
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"a parameter must be a number or an array of numbers, got {value!r}") from None


def check(name: str, value: Any, *, above: float | None = None, least: float | None = None, hint: str = "") -> None:
    """Raise `ValueError` naming the culprit unless `value` is finite and within bounds; tracers pass unseen.

    `above` is an exclusive lower bound, `least` an inclusive one; `hint` says how to mend it.
    """
    if not isinstance(value, np.ndarray):
        return
    wanted = "finite"
    good = bool(np.all(np.isfinite(value)))
    if above is not None:
        wanted = "positive and finite" if above == 0 else f"finite and above {above:g}"
        good = good and bool(np.all(value > above))
    if least is not None:
        wanted = "finite and not negative" if least == 0 else f"finite and at least {least:g}"
        good = good and bool(np.all(value >= least))
    if not good:
        shown = f"{float(value):g}" if value.ndim == 0 else np.array2string(value, threshold=4)
        raise ValueError(f"{name} must be {wanted}, got {shown}" + (f"; {hint}" if hint else ""))


def check_single(name: str, given: Any, within: str = "") -> None:
    """Raise `ValueError` where a statement or a part of it, but for what it has `listed`, holds an array for a number.

    within: where the part stands in what `name` makes, such as "bid_demand.".
    """
    for field in dataclasses.fields(given):
        value = getattr(given, field.name, None)
        if field.name in getattr(given, "listed", ()):
            continue
        if isinstance(value, np.ndarray) and value.ndim:
            shown = np.array2string(value, threshold=4)
            raise ValueError(f"{name}: {within}{field.name} must be one number, got {shown}; make one {name} of each")
        if isinstance(value, eqx.Module):
            check_single(name, value, f"{within}{field.name}.")


def _as_float64(leaf: Any) -> Any:
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float, np.ndarray, np.generic, jax.Array)):
        return leaf
    return np.asarray(leaf, dtype=np.float64)


def in_float64(function: _F) -> _F:
    """Run `function` compiled and in double precision, and return NumPy; tracers pass straight through, as they are."""
    compiled = eqx.filter_jit(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if is_traced(args, kwargs):
            return function(*args, **kwargs)
        with jax.enable_x64(True):
            args, kwargs = jax.tree.map(_as_float64, (args, kwargs))
            return jax.tree.map(np.asarray, compiled(*args, **kwargs))

    return wrapper  # type: ignore[return-value]
