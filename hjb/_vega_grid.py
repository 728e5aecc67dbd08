"""The options book's equation on a grid of vega and variance, and its march from the horizon to now.

Four tables over (vega, variance), each of them a sum over the future of what one path brings: the value `v`, the mean
profit `h` under the best quotes, and the profit's variance `s`. With `D f = f(Vega +- w_i) - f(Vega)` on a fill,

    v_tau = L v + Vega (a_P - a_Q)/(2 sqrt nu) - (gamma xi^2/8) Vega^2  + sum Lambda_i(x*) (w_i x* + D v)
    h_tau = L h + Vega (a_P - a_Q)/(2 sqrt nu)                          + sum Lambda_i(x*) (w_i x* + D h)
    s_tau = L s + xi^2 (sqrt(nu) h_nu + Vega/2)^2                       + sum Lambda_i(x*) ((w_i x* + D h)^2 + D s)

in the time to go `tau`, all zero at the horizon, with `L f = a_P f_nu + (xi^2 nu/2) f_nunu`.

Variance: central differences, upwind where those would not be monotone. At the two ends of the range the diffusion is
left out, and the drift where it points outwards: the range is wide, so that no path of weight gets there.

Vega: a trade has any size, so a fill lands between nodes. It is spread over the three nearest by the quadratic
B-spline. Its weights are positive, so the generator is that of a Markov chain (an M-matrix); and its second moment
about the landing point is a quarter of a step squared wherever that lies, so that the error is `h^2/8 f''` for every
size alike and halving the grid can be extrapolated. (Linear weights are monotone, too, but their error goes with the
place between the nodes, another one for each size and each grid.) Half a step from the limit they become the linear
weights by themselves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..models.options_book import OptionsBook, best_response
from ._tables import clock

_CHUNK = 512  # prices whose best quotes are sought in one call: one compiled shape for every grid
_STALE = 0.25  # share of the defect that a correction may leave before the factors are renewed
_RANNACHER_STEPS = 2


class VegaRange(NamedTuple):
    """Even nodes: `vega` intervals from minus the limit to the limit, `variance` intervals from `low` to `high`."""

    vega: int
    variance: int
    low: float
    high: float

    def coarser(self, factor: int) -> VegaRange:
        return self._replace(vega=self.vega // factor, variance=self.variance // factor)


class Fills(NamedTuple):
    """The best quotes and what follows from them; arrays (sides, options, vega, variance)."""

    distance: np.ndarray  # in implied volatility; nan where there is no quote
    rate: np.ndarray  # of fills per year
    earned: np.ndarray  # w x, money a fill


class VegaEquation:
    """The equation of one book on one grid; tables have the shape (vega, variance)."""

    def __init__(self, book: OptionsBook, grid: VegaRange):
        limit = float(book.vega_limit)
        self.book, self.grid = book, grid
        self.vega = np.linspace(-limit, limit, grid.vega + 1)
        self.variance = np.linspace(grid.low, grid.high, grid.variance + 1)
        self.trade = np.asarray(book.size)
        self.permitted = np.stack([np.asarray(book.may_fill(side, self.vega[:, None])).T for side in (+1, -1)])
        self.landing = np.stack([_landings(self.vega, side * self.trade) for side in (+1, -1)])
        self.landing *= self.permitted[..., None]
        self.transport = _variance_generator(book, self.variance)
        self.income = self.vega[:, None] * np.asarray(book.income(self.variance))
        self.cost = np.asarray(book.running_cost(self.vega))[:, None]
        self.loading = 0.5 * float(book.physical.volatility_of_variance) * self.vega[:, None]

    def start(self) -> np.ndarray:
        """Value, mean and variance at the horizon, (3, vega, variance)."""
        return np.zeros((3, self.vega.size, self.variance.size))

    def change(self, table: np.ndarray) -> np.ndarray:
        """`D f` of every channel, zero where the fill is not permitted."""
        landed = self.landing.reshape(-1, self.vega.size) @ table
        return landed.reshape(*self.landing.shape[:3], -1) - self.permitted[..., None] * table

    def fills(self, value: np.ndarray) -> Fills:
        """The quotes that maximise the value's Hamiltonian."""
        price = -self.change(value) / self.trade[:, None, None]
        distance, rate = np.empty_like(price), np.empty_like(price)
        for side, demand in enumerate((self.book.bid_demand, self.book.ask_demand)):
            found = in_chunks(demand, np.moveaxis(price[side], 0, -1))
            distance[side], rate[side] = (np.moveaxis(part, -1, 0) for part in found)
        open_ = self.permitted[..., None]
        rate *= open_
        earned = self.trade[:, None, None] * np.where(np.isfinite(distance), distance, 0.0)
        return Fills(np.where(open_, distance, np.nan), rate, earned)

    def value_rate(self, value: np.ndarray, fills: Fills) -> np.ndarray:
        flow = np.sum(fills.rate * (fills.earned + self.change(value)), axis=(0, 1))
        return value @ self.transport.T + self.income - self.cost + flow

    def mean_rate(self, mean: np.ndarray, fills: Fills) -> np.ndarray:
        flow = np.sum(fills.rate * (fills.earned + self.change(mean)), axis=(0, 1))
        return mean @ self.transport.T + self.income + flow

    def variance_rate(self, spread: np.ndarray, mean: np.ndarray, fills: Fills) -> np.ndarray:
        loading = (
            float(self.book.physical.volatility_of_variance)
            * np.sqrt(self.variance)
            * np.gradient(mean, self.variance, axis=1, edge_order=2)
            + self.loading
        )
        flow = np.sum(fills.rate * ((fills.earned + self.change(mean)) ** 2 + self.change(spread)), axis=(0, 1))
        return spread @ self.transport.T + loading**2 + flow

    def generator(self, fills: Fills) -> np.ndarray:
        """Of the fills at given quotes, (variance, vega, vega): rates to each node from each."""
        channels = fills.rate.shape[0] * fills.rate.shape[1]
        rates = fills.rate.reshape(channels, self.vega.size, -1)
        to = self.landing.reshape(channels, self.vega.size, -1)
        moves = np.matmul(rates.transpose(1, 2, 0), to.transpose(1, 0, 2)).transpose(1, 0, 2)
        node = np.arange(self.vega.size)
        moves[:, node, node] -= np.sum(rates, axis=0).T
        return moves


def _landings(vega: np.ndarray, jumps: np.ndarray) -> np.ndarray:
    """Weights (options, vega, vega) of the nodes on which a jump from each node lands; rows beyond the ends are zero.

    Half a step inside an end the weight of the node beyond it goes to the continuation `2 f_N - f_(N-1)`, which leaves
    the linear weights of the last two nodes.
    """
    count, step = vega.size, vega[1] - vega[0]
    place = np.arange(count) + jumps[:, None] / step
    inside = (place > -1e-6) & (place < count - 1 + 1e-6)
    nearest = np.clip(np.rint(place), 0, count - 1).astype(int)
    f = place - nearest
    wide = np.zeros((*place.shape, count + 2))  # with a node beyond either end
    for node, weight in ((-1, 0.5 * (0.5 - f) ** 2), (0, 0.75 - f**2), (1, 0.5 * (0.5 + f) ** 2)):
        np.put_along_axis(wide, (nearest + node + 1)[..., None], (inside * weight)[..., None], axis=-1)
    weights = wide[..., 1:-1]
    for beyond, last, before in ((wide[..., 0], 0, 1), (wide[..., -1], -1, -2)):
        weights[..., last] += 2 * beyond
        weights[..., before] -= beyond
    return weights


def _variance_generator(book: OptionsBook, nodes: np.ndarray) -> np.ndarray:
    """`a_P d/dnu + (xi^2 nu/2) d^2/dnu^2` as a matrix without negative off-diagonals."""
    step, count = nodes[1] - nodes[0], nodes.size
    drift = np.asarray(book.physical.drift(nodes))
    diffusion = 0.5 * float(book.physical.volatility_of_variance) ** 2 * nodes / step**2
    diffusion[[0, -1]] = 0.0
    central = np.abs(drift) * step <= 2 * diffusion * step**2
    up = np.where(central, diffusion + 0.5 * drift / step, diffusion + np.maximum(drift, 0) / step)
    down = np.where(central, diffusion - 0.5 * drift / step, diffusion + np.maximum(-drift, 0) / step)
    up[-1] = down[0] = 0.0
    inner = np.arange(count)
    matrix = np.zeros((count, count))
    matrix[inner[:-1], inner[1:]] = up[:-1]
    matrix[inner[1:], inner[:-1]] = down[1:]
    matrix[inner, inner] = -(up + down)
    return matrix


def in_chunks(demand: Any, price: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best distances and rates for prices (..., options), sought by so many rows at a time."""
    rows = price.reshape(-1, price.shape[-1])
    padded = np.concatenate([rows, np.zeros((-len(rows) % _CHUNK, rows.shape[1]))])
    parts = [best_response(demand, padded[i : i + _CHUNK]) for i in range(0, len(padded), _CHUNK)]
    distance, rate = (np.concatenate(part)[: len(rows)].reshape(price.shape) for part in zip(*parts, strict=True))
    return distance, rate


class Marched(NamedTuple):
    """Tables of value, mean and variance at times to go on the clock, (times, 3, vega, variance), and the evidence."""

    u: np.ndarray
    residual: float  # the largest defect of any step, relative to the largest entry of its table
    iterations: int
    least_off_diagonal: float  # of every generator that was factored


class _Step:
    """Implicit steps `f - g F(f) = known`, by corrections through `(1 - g J_fills)(1 - g L)`, kept while they serve."""

    def __init__(self, equation: VegaEquation, tolerance: float, max_iterations: int):
        self.equation, self.tolerance, self.max_iterations = equation, tolerance, max_iterations
        self.residual, self.iterations = 0.0, 0
        self.least = _least_off_diagonal(equation.transport[None])

    def renew(self, g: float, fills: Fills) -> None:
        moves = self.equation.generator(fills)
        self.least = min(self.least, _least_off_diagonal(moves))
        self.by_fills = np.linalg.inv(np.eye(moves.shape[1]) - g * moves)
        transport = self.equation.transport
        self.by_transport = np.linalg.inv(np.eye(transport.shape[0]) - g * transport).T

    def solve(self, known: np.ndarray, g: float, guess: np.ndarray, rate_at: Any) -> tuple[np.ndarray, Any]:
        """`f` and what `rate_at(f) -> (F(f), extra)` gave there."""
        f, before = guess, np.inf
        rate, extra = rate_at(f)
        for _ in range(self.max_iterations):
            gap = known + g * rate - f
            defect = float(np.max(np.abs(gap)) / max(np.max(np.abs(f)), np.finfo(float).tiny))
            if not defect > self.tolerance:
                break
            if extra is not None and defect > _STALE * before:
                self.renew(g, extra)
            f = f + np.matmul(self.by_fills, gap.T[..., None])[..., 0].T @ self.by_transport
            before = defect
            rate, extra = rate_at(f)
            self.iterations += 1
        else:
            gap = known + g * rate - f
            defect = float(np.max(np.abs(gap)) / max(np.max(np.abs(f)), np.finfo(float).tiny))
        self.residual = max(self.residual, defect) if np.isfinite(defect) else np.inf
        return f, (rate, extra)


def _least_off_diagonal(matrices: np.ndarray) -> float:
    size = matrices.shape[-1]
    return float(np.min(np.where(np.eye(size, dtype=bool), np.inf, matrices)))


def march(equation: VegaEquation, steps: int, tolerance: float, max_iterations: int) -> Marched:
    """From the horizon to now by Crank-Nicolson, the first two of `steps` as four implicit Euler half steps."""
    whole = float(equation.book.horizon) * clock(steps)
    kept = np.zeros((steps + 1, *equation.start().shape))
    step = _Step(equation, tolerance, max_iterations)
    u, before, dt_before = equation.start(), None, 1.0
    fills = equation.fills(u[0])
    rates = _rates(equation, u, fills)
    for number in range(1, steps + 1):
        parts = 2 if number <= _RANNACHER_STEPS else 1
        dt = (whole[number] - whole[number - 1]) / parts
        g = dt if parts == 2 else 0.5 * dt
        for _ in range(parts):
            trend = 0.0 if before is None else (rates - before) / dt_before
            guess = u + dt * (rates + 0.5 * dt * trend)
            before, dt_before = rates, dt
            step.renew(g, fills)
            u, rates, fills = _advance(equation, step, u + (dt - g) * rates, g, guess)
        kept[number] = u
    return Marched(kept, step.residual, step.iterations, step.least)


def _advance(
    equation: VegaEquation, step: _Step, known: np.ndarray, g: float, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Fills]:
    """The value first, whose quotes the mean then follows, and the variance both."""

    def of_value(table: np.ndarray) -> Any:
        fills = equation.fills(table)
        return equation.value_rate(table, fills), fills

    value, (value_rate, fills) = step.solve(known[0], g, guess[0], of_value)
    mean, (mean_rate, _) = step.solve(known[1], g, guess[1], lambda f: (equation.mean_rate(f, fills), None))
    spread, (spread_rate, _) = step.solve(
        known[2], g, guess[2], lambda f: (equation.variance_rate(f, mean, fills), None)
    )
    return np.stack([value, mean, spread]), np.stack([value_rate, mean_rate, spread_rate]), fills


def _rates(equation: VegaEquation, u: np.ndarray, fills: Fills) -> np.ndarray:
    return np.stack(
        [
            equation.value_rate(u[0], fills),
            equation.mean_rate(u[1], fills),
            equation.variance_rate(u[2], u[1], fills),
        ]
    )
