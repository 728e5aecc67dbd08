"""Derivatives of a solution in the problem's parameters, in forward and in reverse mode alike.

Solvers loop until they have converged, and such loops can be differentiated forwards only. A problem has few
parameters, so the whole Jacobian is computed forwards, all columns at once, and applied: a matrix product, which JAX
can turn round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from ..models._precision import is_traced

_Result = TypeVar("_Result")


def differentiable(function: Callable[[Any], _Result], problem: Any) -> _Result:
    """`function(problem)`, with derivatives of either mode in the leaves of `problem` that are traced."""
    if not is_traced(problem):
        return function(problem)
    traced, fixed = eqx.partition(problem, is_traced)
    vector, rebuild = ravel_pytree(traced)

    def parts(vector: Any) -> tuple[Any, Any]:
        """The result's floating-point numbers, and what has no derivative."""
        return eqx.partition(function(eqx.combine(rebuild(vector), fixed)), eqx.is_inexact_array)

    result = jax.custom_jvp(parts)

    @result.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (point,), (direction,) = primals, tangents

        def column(unit: Any) -> Any:
            return jax.jvp(lambda v: parts(v)[0], (point,), (unit,))[1]

        columns = jax.vmap(column)(jnp.eye(point.size, dtype=point.dtype))
        value = result(point)
        change = jax.tree.map(lambda column: jnp.tensordot(direction, column, 1), columns)
        none = jax.tree.map(lambda count: np.zeros(jnp.shape(count), jax.dtypes.float0), value[1])
        return value, (change, none)

    return eqx.combine(*result(vector))
