"""Answers in closed form: exact where the equation allows it, approximate where a paper gives a formula.

| problem           | quotes                                                                  | how good       |
| AvellanedaStoikov | the paper's reservation price and spread (2008, equations 3.17, 3.18)   | first order    |
| InventoryDealer   | long horizon, no limit (Gueant, Lehalle, Fernandez-Tapia 2013, eq. 4.6) | asymptotic     |
| PrintedDealer     | the printed maximum, static in time; `m` by quadrature                  | error estimate |
| MultiAssetDealer  | the Riccati approximation of Hamiltonians (see `riccati`)               | residual       |
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..models._precision import is_traced
from ..models.inventory import AvellanedaStoikov, InventoryDealer
from ..models.printed import PrintedDealer
from ._equation import Grid
from ._tables import Tables
from .lattice import _linear_system, linearises
from .policy import Policy
from .solution import Solution


class AvellanedaStoikovQuotes(Policy):
    """`bid, ask = s/2 +- q gamma sigma^2 tau` with the spread `s = gamma sigma^2 tau + (2/gamma) ln(1 + gamma/k)`."""

    def distances(self, tau: Any, y: Any) -> tuple[Any, Any]:
        gamma = self.problem.objective.risk_aversion
        risk = gamma * self.problem.volatility**2 * tau
        half = 0.5 * risk + jnp.log1p(gamma / self.problem.bid_demand.decay) / gamma
        return half + y * risk, half - y * risk


class AsymptoticQuotes(Policy):
    """Quotes of an unlimited dealer far from the horizon: affine in inventory, static in time."""

    first: Any  # bid and ask distance at zero inventory, (2,)
    slope: Any  # change of the bid distance per lot

    def distances(self, tau: Any, y: Any) -> tuple[Any, Any]:
        tilt = self.slope * y + 0 * tau
        return self.first[0] + tilt, self.first[1] - tilt


class ClosedForm(eqx.Module):
    """Settings of the closed-form method; only its tables are discrete.

    half_width: of the tabulated inventory, in lots, where the problem sets no limit.
    times:      intervals between the tabulated times.
    """

    half_width: int = eqx.field(static=True, default=30)
    times: int = eqx.field(static=True, default=64)

    def formula(self, problem: Any) -> Policy | None:
        """The policy in closed form. Raises `ValueError` for a problem that has none."""
        if isinstance(problem, AvellanedaStoikov):
            return AvellanedaStoikovQuotes(problem)
        if isinstance(problem, PrintedDealer):
            return None  # static in time, so its table is exact in time
        if not isinstance(problem, InventoryDealer) or not linearises(problem):
            raise ValueError(
                f"ClosedForm has no formula for {type(problem).__name__} with these demands and this objective; it "
                "takes AvellanedaStoikov, PrintedDealer, or InventoryDealer with one exponential decay and "
                "ExponentialUtility or RunningPenalty: take Lattice() or FiniteDifference()"
            )
        first, slope, _ = _asymptotics(problem)
        return AsymptoticQuotes(problem, first, slope)

    def solution(self, problem: Any) -> Solution:
        """Tabulate the formula; called by `solve`, inside double precision."""
        if isinstance(problem, PrintedDealer):
            return Solution(problem, self, _printed_tables(problem, self.times), power=2, stats={"static": True})
        policy = self.formula(problem)
        assert policy is not None
        if not is_traced(problem):
            policy = jax.tree.map(np.asarray, policy)
        value = _avellaneda_stoikov_value if isinstance(problem, AvellanedaStoikov) else _asymptotic_value
        limit = problem.max_inventory
        grid = Grid(1, int(limit) if np.isfinite(limit) else self.half_width)
        return Solution(problem, self, _tables(problem, policy, grid, self.times, value), 1, {}, policy)

    def solve_book(self, problem: Any) -> Any:
        """A book of any number of assets by its Riccati equation: see `riccati`."""
        from .riccati import solve_riccati

        return solve_riccati(problem, self)

    def book_with_mean(self, problem: Any) -> Any:
        """A book's expected wealth is not part of the approximation."""
        raise ValueError("ClosedForm knows the value of a book only; simulate its policy for the expected wealth")

    def restore_book(self, problem: Any, data: Any) -> Any:
        """What `BookSolution.save` wrote."""
        from .book_solution import restored
        from .riccati import QuadraticSurface

        return restored(problem, self, data, {QuadraticSurface.kind: QuadraticSurface})

    def solve_batch(self, problems: Any, stacked: Any) -> Any:
        raise ValueError("ClosedForm solves one problem at a time, and fast; call solve for each")


def _tables(problem: Any, policy: Policy, grid: Grid, times: int, value: Any) -> Tables:
    tau = jnp.linspace(0.0, 1.0, times + 1) * problem.horizon
    y = grid.nodes(problem.size)
    quotes = jax.vmap(lambda t: jnp.stack(policy.distances(t, y)))(tau)
    theta = jax.vmap(lambda t: value(problem, t, y))(tau)
    unknown = jnp.full_like(theta, jnp.nan)
    return Tables(
        tau, (y,), theta, unknown, quotes[:, 0], quotes[:, 1], jnp.zeros(()), unknown, unknown, jnp.zeros((), int)
    )


def _avellaneda_stoikov_value(problem: Any, tau: Any, q: Any) -> Any:
    """The paper's own expansion: `-gamma sigma^2 tau q^2/2 + int A/(k + gamma) (2 - k s(u)) du` over the time to go."""
    demand, gamma = problem.bid_demand, problem.objective.risk_aversion
    risk = gamma * problem.volatility**2
    spread_integral = 0.5 * risk * tau**2 + 2 * tau * jnp.log1p(gamma / demand.decay) / gamma
    income = demand.scale / (demand.decay + gamma) * (2 * tau - demand.decay * spread_integral)
    return income - 0.5 * risk * tau * q**2


def _asymptotics(problem: Any) -> tuple[Any, Any, Any]:
    """Bid and ask at zero inventory, their slope per lot, and the value's leading terms `(growth, bend, centre)`.

    With `cost = c q^2`: `alpha = kappa c`, `eta = sqrt(C_bid C_ask)`; far from the horizon and the limits
    `ln u = growth tau - 1/2 sqrt(alpha/eta) (q - centre)^2 - (q/2) ln(C_bid/C_ask)`: the ground state of an oscillator.
    """
    q = jnp.arange(-1.0, 2.0)
    diagonal, up, down, kappa, xi = _linear_system(problem, Grid(1, 1))
    alpha = -0.5 * (diagonal[0] + diagonal[2])
    pull = 0.5 * (diagonal[2] - diagonal[0])
    eta = jnp.sqrt(up * down)
    bend = jnp.sqrt(alpha / eta)
    centre = pull / (2 * alpha) + 0 * q[1]
    tilt = 0.5 * jnp.log(up / down)
    growth = 2 * eta - jnp.sqrt(alpha * eta) + pull**2 / (4 * alpha)
    base = problem.adverse_selection + jnp.log1p(xi / kappa) / jnp.where(xi == 0, 1.0, xi) / problem.lot
    base = jnp.where(xi == 0, problem.adverse_selection + 1 / (kappa * problem.lot), base)
    bid = base + (bend * (0.5 - centre) + tilt) / (kappa * problem.lot)
    ask = base + (bend * (0.5 + centre) - tilt) / (kappa * problem.lot)
    return jnp.stack([bid, ask]), bend / (kappa * problem.lot), (growth, bend, centre, tilt, kappa)


def _asymptotic_value(problem: Any, tau: Any, q: Any) -> Any:
    """Leading terms of the value for a long time to go; the constant that the start leaves behind is not in it."""
    growth, bend, centre, tilt, kappa = _asymptotics(problem)[2]
    return (growth * tau - 0.5 * bend * (q - centre) ** 2 - tilt * q) / kappa


@eqx.filter_jit
def _printed_tables(problem: PrintedDealer, times: int, half: int = 200) -> Tables:
    """Static quotes, and `m(tau, S) = int_0^tau E[M(S_u)] du`: trapezoidal rule in `ln S`, Simpson's in `sqrt(u)`.

    `M` has kinks where the best bid reaches the edge of the admissible set, so many plain points beat few clever ones.
    The error is estimated by leaving out every other point in both directions.
    """
    y = jnp.linspace(-1.0, 1.0, 2 * half + 1) * problem.max_stock
    reach = jnp.exp(7 * problem.volatility * jnp.sqrt(problem.horizon) + jnp.abs(problem.rate) * problem.horizon)
    wide = jnp.linspace(-1.0, 1.0, 20 * half + 1) * problem.max_stock * reach
    rate_of_gain, _, _ = problem.maximum(wide)
    _, bid, ask = problem.maximum(y)
    z = jnp.linspace(-7.0, 7.0, 401)
    weights = jnp.exp(-0.5 * z**2) * (z[1] - z[0]) / jnp.sqrt(2 * jnp.pi)
    clock = jnp.linspace(0.0, 1.0, 2 * times + 1)  # tau = horizon clock^2: the kinks blur like sqrt(tau)

    def expected_rate(share: Any) -> Any:
        """`E[M(S_u)]` at every node, from all points and from every other one."""
        u = problem.horizon * share**2
        growth = jnp.exp((problem.rate - 0.5 * problem.volatility**2) * u + problem.volatility * jnp.sqrt(u) * z)
        gain = jnp.interp(y[:, None] * growth[None], wide, rate_of_gain)
        return jnp.stack([gain @ weights, 2 * gain[:, ::2] @ weights[::2]])

    rate = jax.lax.map(expected_rate, clock) * (2 * problem.horizon * clock)[:, None, None]
    panels = (rate[:-2:2] + 4 * rate[1:-1:2] + rate[2::2]) / 6 / times  # Simpson's rule between even points
    coarse = 0.5 * (rate[:-2:2, 1] + rate[2::2, 1]) / times
    value, rough = (jnp.concatenate([jnp.zeros_like(p[:1]), jnp.cumsum(p, axis=0)]) for p in (panels[:, 0], coarse))
    spread_out = partial(jnp.broadcast_to, shape=value.shape)
    unknown = jnp.full_like(value, jnp.nan)
    tau = problem.horizon * clock[::2] ** 2
    return Tables(
        tau,
        (y,),
        value,
        unknown,
        spread_out(bid),
        spread_out(ask),
        jnp.zeros(()),
        jnp.abs(value - rough),
        unknown,
        jnp.zeros((), int),
    )
