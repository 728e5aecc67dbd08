"""A book's value as a quadratic in its inventory: the Riccati approximation, for any number of assets.

Each side's Hamiltonian `G(p) = sup_x Lambda(x) U(D x, p)` is replaced by its expansion at no change of the value,
`a0 + a1 p + a2 p^2 / 2`. Then, without limits, `theta = -q' A q + b' q + c` solves the equation, because a fill of
asset `i` changes it by `+-y_i - A_ii` with `y = b - 2 A q`. With `R` and `K` the quadratic forms of the running and of
the terminal cost, `m_i = mu_i D_i`, and over an asset's sides `S_n = a_n^bid + a_n^ask`, `N_n = a_n^bid - a_n^ask`,

    A' = R - 2 A diag(S_2) A,                                                             A(0) = K,
    b' = m - 2 A (N_1 - N_2 diag(A) + S_2 b),                                             b(0) = 0,
    c' = sum_i [ S_0 + (N_1 - N_2 A_ii) b - S_1 A_ii + S_2 (b^2 + A_ii^2) / 2 ]_i,        c(0) = 0,

the prime a derivative in the time to go `tau = T - t`. Bergault, Evangelista, Gueant and Vieira (2021, section 3), who
drop the terms in `A_ii` of `b'` and `c'`; here they are kept, so that a quadratic Hamiltonian gives the exact answer.
The quotes answer the quadratic by the true first-order condition.

How good it is depends on how far a lot moves the value, in units of `D/k`. Measured: for the two coarse lots of Gueant
(2017) quotes are 14 and 18 per cent off. In the benchmark of `d` assets at correlation one half (`A = 1`, `k = 1.5`,
terminal penalty .01), relative errors of the value of an empty book, and of all quotes within three lots (rms, d = 2):

| gamma, T  | d = 2  | d = 10 | d = 30 | quotes |
| .02, 1    | 8.2e-6 | 8.5e-6 | 1.1e-5 | 6.3e-5 |
| .04, 5    | 9.2e-4 | 8.5e-4 |        | 5.3e-3 |
| .4, 5     | 5.3e-2 | 3.8e-2 |        | .10    |
| 4, 5      | 2.3    | 1.8    |        | .66    |
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..models._precision import is_traced
from ..models.multi_asset import MultiAssetDealer
from ..models.objectives import MeanVariance
from ._derivatives import differentiable
from ._extrapolation import integrate
from .book_solution import BookSolution, Pair, Surface, defect, on_clock

_TOLERANCE = 1e-12
_MAX_STEPS = 20_000


class QuadraticSurface(Surface):
    """`theta = -q' A q + b' q + c` at times to go `T (j/n)^2`, j = 0..n, cubics between them.

    quadratic: `A`, (times, d, d), money per lot^2.   linear: `b`, (times, d).   constant: `c`, (times,), money.
    """

    kind: ClassVar[str] = "quadratic"

    horizon: Any
    quadratic: Any
    linear: Any
    constant: Any

    @property
    def knows_mean(self) -> bool:
        return False

    def coefficients(self, tau: Any) -> tuple[Any, Any, Any]:
        """`A`, `b`, `c` at times to go of any shape."""
        times = self.quadratic.shape[0]
        row, weights = on_clock(tau, self.horizon, times)
        tables = (self.quadratic, self.linear, self.constant)
        return tuple(  # type: ignore[return-value]
            jnp.einsum("...k,...k" + "ij"[: table.ndim - 1] + "->..." + "ij"[: table.ndim - 1], weights, table[row])
            for table in map(jnp.asarray, tables)
        )

    def both(self, tau: Any, q: Any) -> Pair:
        a, b, c = self.coefficients(tau)
        theta = c + jnp.einsum("...i,...i->...", q, b) - jnp.einsum("...i,...ij,...j->...", q, a, q)
        return theta, jnp.zeros_like(theta)

    def changes(self, tau: Any, q: Any) -> tuple[Pair, Pair]:
        a, b, _ = self.coefficients(tau)
        slope = b - 2 * jnp.einsum("...ij,...j->...i", a, q)
        bend = jnp.einsum("...ii->...i", a)
        none = jnp.zeros_like(slope)
        return (slope - bend, none), (-slope - bend, none)

    def to_arrays(self, units: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        money, state, texts = units["money"], units["state"], ("A in -q'Aq", "b in b'q", "c")
        dims = (("time_to_go", "asset", "other"), ("time_to_go", "asset"), ("time_to_go",))
        measures = (f"{money}/{state}^2", f"{money}/{state}", money)
        variables = {
            name: (dim, np.asarray(getattr(self, name)), {"units": unit, "long_name": text})
            for name, dim, unit, text in zip(("quadratic", "linear", "constant"), dims, measures, texts, strict=True)
        }
        tau = self.horizon * np.linspace(0.0, 1.0, self.constant.size) ** 2
        return variables, {"time_to_go": ("time_to_go", tau, {"units": units["time"]})}

    @classmethod
    def from_arrays(cls, problem: MultiAssetDealer, data: Any) -> QuadraticSurface:
        return cls(problem.horizon, *(data[name].values for name in ("quadratic", "linear", "constant")))


def solve_riccati(problem: MultiAssetDealer, method: Any) -> BookSolution:
    """The book by `ClosedForm`, inside double precision; the residual is the true equation's, around an empty book.

    `converged` says that the Riccati equation was solved, to 1e-12. How far its quadratic is from the value is told by
    `residual` only: the largest defect within two lots of an empty book, in units of what that book earns. No tolerance
    is put on it, since near the horizon it overstates what is lost; above some .05 take another method.

    Raises `ValueError` for `MeanVariance`, whose quotes need the expected wealth as well.
    """
    if isinstance(problem.objective, MeanVariance):
        raise ValueError(
            "ClosedForm has no Riccati equation for MeanVariance, which couples value and expected wealth; take "
            "MeanQuadraticVariation or RiskPenalty, or another method"
        )
    surface = quadratic_surface(problem, max(method.times, 3))
    residual = _residual(problem, surface)
    if not is_traced(surface):
        surface, residual = jax.tree.map(np.asarray, surface), float(residual)
    return BookSolution(
        problem, method, stats={"method": type(method).__name__}, surface=surface, residual_found=residual
    )


def quadratic_surface(problem: MultiAssetDealer, times: int = 64) -> QuadraticSurface:
    """The Riccati approximation of `theta`; call inside double precision."""
    return differentiable(lambda p: _solve(p, times), problem)


def hamiltonian_expansion(problem: MultiAssetDealer, side: int) -> tuple[Any, Any, Any]:
    """`a0`, `a1`, `a2` of one side, each (d,): value, slope and curvature of `G(p)` at `p = 0`, money per unit of time.

    By the envelope theorem `G' = Lambda(x*) U_p`, so that only the first derivative of `x*` is needed.
    """
    zero, one = jnp.zeros(problem.dimension), jnp.ones(problem.dimension)

    def slope(p: Any) -> Any:
        best = problem.response(side, p, zero)
        return best.rate * jax.jvp(lambda v: problem.objective.gain(best.income, v, zero), (p,), (one,))[1]

    return (problem.response(side, zero, zero).gain, *jax.jvp(slope, (zero,), (one,)))


@eqx.filter_jit
def _solve(problem: MultiAssetDealer, times: int) -> QuadraticSurface:
    d, unit = problem.dimension, jnp.eye(problem.dimension)
    bid, ask = (hamiltonian_expansion(problem, side) for side in (+1, -1))
    s0, s1, s2 = (up + down for up, down in zip(bid, ask, strict=True))
    _, n1, n2 = (up - down for up, down in zip(bid, ask, strict=True))
    running, growth = _form(problem.running_cost, d), problem.income(unit)

    def rate(u: Any) -> Any:
        a, b = u[: d * d].reshape(d, d), u[d * d : -1]
        bend = jnp.diagonal(a)
        tilt = n1 - n2 * bend
        own = s0 + tilt * b - s1 * bend + 0.5 * s2 * (b**2 + bend**2)
        change = (running - 2 * (a * s2[None]) @ a).ravel(), growth - 2 * a @ (tilt + s2 * b), jnp.sum(own)[None]
        return problem.horizon * jnp.concatenate(change)

    start = jnp.concatenate([_form(problem.terminal_cost, d).ravel(), jnp.zeros(d + 1)])
    scale = jnp.max(jnp.abs(s0)) / jnp.max(jnp.abs(s1))
    clock = jnp.linspace(0.0, 1.0, times + 1) ** 2
    path = integrate(rate, start, clock, scale, jnp.asarray(_TOLERANCE), _MAX_STEPS)
    u = jnp.where(path.finished, path.u, jnp.nan)
    return QuadraticSurface(problem.horizon, u[:, : d * d].reshape(-1, d, d), u[:, d * d : -1], u[:, -1])


def _form(cost: Any, d: int) -> Any:
    """The matrix of a quadratic form from its values, by polarisation."""
    unit = jnp.eye(d)
    pairs = cost(unit[:, None] + unit[None])
    own = cost(unit)
    return 0.5 * (pairs - own[:, None] - own[None])


@eqx.filter_jit
def _residual(problem: MultiAssetDealer, surface: QuadraticSurface) -> Any:
    """The largest defect with an empty book and up to two lots off it, in units of what an empty book earns."""
    unit = jnp.eye(problem.dimension)
    q = jnp.concatenate([jnp.zeros_like(unit[:1]), unit, -unit, unit + jnp.roll(unit, 1, axis=1)])
    tau = problem.horizon * jnp.asarray([1.0, 0.5, 0.1, 0.01])
    times, books = jnp.repeat(tau, q.shape[0]), jnp.tile(q, (tau.size, 1))
    gap, earned = defect(problem, surface, times, books)
    return jnp.max(jnp.abs(gap)) / jnp.max(jnp.abs(earned[:: q.shape[0]]))
