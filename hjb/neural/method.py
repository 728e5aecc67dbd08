"""The neural method: a small network on top of a quadratic solution, trained on the residual of the equation itself.

    solution = ts.solve(problem, ts.hjb.Neural())

Measured on the benchmark of `benchmarks/neural.py`: errors relative, root mean square over 200 inventories that the
optimal quotes visit at each of the times 0, T/4 and T/2, the largest of the three and of the seeds 0 to 4, against the
linear equation on all multisets of inventories (`tests/hjb/like_assets.py`, exact to 1e-6 of the value, and to 3e-5 of
the quotes with thirty assets):

| assets | gamma, T | weights | steps  | value  | quotes | wanted       |
| 10     | .02, 1   | 706     | 8      | 2e-7   | 1.1e-6 | 3e-5, 1e-4   |
| 10     | .04, 5   | 706     | 18     | 1.6e-5 | 1.5e-4 | 1e-4, 5e-4   |
| 10     | .4, 5    | 706     | 30     | 2.7e-4 | 2.5e-3 | 5e-4, 3e-3   |
| 10     | 4, 5     | 706     | 30     | 3.9e-3 | 1.9e-2 | 1e-2, 2e-2   |
| 30     | .02, 1   | 706     | 8      | 1.4e-6 | 2.7e-5 | 1e-4, 3e-4   |

At 3T/4 quotes are off by up to 2.7e-2 at gamma = 4. Ask for a tolerance of 1e-2 with such a book: four seeds of five
are then certified after 30 steps, one stays at 1.1e-2 although its errors are no larger. Thirty assets take .8 GiB.

The diffusion in 100 dimensions comes out at 4.590166 (exact 4.590162) in ten steps. One asset (`_series`), against the
lattice or a grid of 40 nodes to a lot, at every state that keeps the limit:

| case                                  | value | quotes, units of 1/k                            |
| Avellaneda and Stoikov, 12 lots        | 2e-5  | 4e-4 at most, with 1% of the time left           |
| Gueant, Lehalle and Fernandez-Tapia    | 7e-5  | 7e-4 at most, likewise; 4e-7 and 3e-4 at the start |
| stock and cash, equilibrium            | 1e-4  | 3e-4 up to 6 lots of 10; 1.2e-2 beside the limit |

The last is a miss beside the limit, where 1e-3 is wanted: the bid stops at nine lots, and what bends the value there
is a layer of a thirtieth of a lot, while splines have half a lot (the grid crowds its nodes and is right to 1e-4).
Adding exponentials of that width at eight, nine and ten lots, each at three lengths, brought it to 8e-3 only, a tenth
of the sample at each of them no further. There take `FiniteDifference`. Beyond 45 lots on either side splines stretch
over more than a lot; beside such a limit take `Lattice`, which is exact.

What was tried:

- Features. Sums over assets of powers of an asset's inventory and tilt (`_book`) leave 15 numbers whatever the
  dimension. Raw powers are ruined by their tails; softened ones are not.
- The linear part beside the network (`_ansatz`). Without it a strongly averse book (gamma = 4) stuck at a residual of
  7e-2; with it 2e-3 is reached in ten steps.
- Two clocks. With `tau` alone the start-up near the horizon of that book was lost, and 10% of the value with it.
- The baseline. Taylor's quadratic runs away at gamma = 4 (94% off, against 49%); at gamma = .02 it is off by 1e-7
  already.
- One asset. A network of inventory and time stalled at a residual of 5e-3, quotes off by .4/k beside a limit, however
  its features were chosen: what a limit does is over within two lots, and a lattice has few states. So each place has
  its own function of time now, and only the last layer is trained; training the hidden ones as well stalled at 6e-3.
- Certificates. The root mean square residual over the training sample failed books whose value was within its target
  (gamma = 4) and says nothing about how much of the value is at stake; see `certify` for what is judged instead.
- Training. Levenberg and Marquardt's steps in double precision; single precision and a first phase of Adam were left
  out, because twenty steps were enough. Most of the time is compiling.
- Sampling. Fills of a whole time step at once overshoot where quotes revert fast, and the network then learns states
  that nobody visits; paths are simulated fill by fill instead. States far from where the dealer goes are not learnt:
  at gamma = .4 quotes are within 4e-3/k up to one lot in two assets, and off by .3/k at two lots in both.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...models import case
from ...models._precision import is_traced
from ...models.inventory import InventoryDealer
from ...models.multi_asset import MultiAssetDealer
from ...models.objectives import MeanVariance
from ...models.stock_cash import StockCashDealer
from ..solution import Result, Solution, from_tables
from ._ansatz import Ansatz, untrained
from ._book import BookEquation
from ._checkpoint import load_checkpoint, save_checkpoint
from ._equation import Equation
from ._fills import FillEquation
from ._line import LineEquation
from ._report import shown
from ._series import untrained_series
from ._simulated import Estimate, is_linear, linear_value, simulate, value_of
from ._training import Progress, Schedule, begin, drawn, residuals, train, with_weights
from .line import line_solution, restored_line
from .surface import NeuralSolution, NeuralSurface, filled

SURE = 0.2
"""Standard error, in units of the tolerance, at which a simulated value is taken as known."""

_BLOCK = 256  # paths simulated at once
_BLOCKS = 32
_BEYOND = ("cash_matters", "forces", "overnight")  # what a stock account alone cannot tell
_EVERY = 60.0  # seconds between checkpoints
_FRESH_SAMPLE, _FRESH_PATHS = 1 << 20, 1 << 21  # numbers of draws that training does not use


class Fitted(NamedTuple):
    """A trained equation.

    function: `u(tau, x)` at one point.  value: `u` at the horizon and the start, (outputs,).  residual: root mean
    square of the relative residual over fresh points.
    """

    function: Ansatz
    value: np.ndarray
    residual: float
    seconds: float
    iterations: int


class Neural(eqx.Module):
    """Settings of the neural method.

    width, depth: of the hidden layers; for one asset, of a network of time alone.
    points:       states in a training sample; iterations, refresh: training steps at most, and between samples.
    tolerance:    error of the value that is accepted, relative; `certify` says how it is bounded. Training stops where
                  the root mean square relative residual over the sample is a tenth of it.
    seed:         of weights, samples and certificates.
    with_mean:    learn the expected wealth as well where the objective does not need it.
    seconds:      of training at most; None for no bound.
    checkpoint:   file to which training is written every minute and at its end, and from which it resumes.
    progress:     show a bar; None where a terminal is there to show it.
    """

    width: int = eqx.field(static=True, default=16)
    depth: int = eqx.field(static=True, default=2)
    points: int = eqx.field(static=True, default=4096)
    iterations: int = eqx.field(static=True, default=40)
    refresh: int = eqx.field(static=True, default=6)
    tolerance: float = eqx.field(static=True, default=1e-3)
    seed: int = eqx.field(static=True, default=0)
    with_mean: bool = eqx.field(static=True, default=False)
    seconds: float | None = eqx.field(static=True, default=None)
    checkpoint: str | None = eqx.field(static=True, default=None)
    progress: bool | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        for name in ("width", "depth", "points", "iterations", "refresh"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Neural: {name} must be a whole number of at least 1, got {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ValueError(f"Neural: seed must be a whole number from 0 to 2^63 - 1, got {self.seed!r}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"Neural: tolerance must lie between 0 and 1, got {self.tolerance!r}")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"Neural: seconds must be positive, got {self.seconds!r}; None sets no bound")

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.points, self.iterations, self.refresh, self.seed, self.tolerance, self.seconds)

    def solve(self, problem: Any) -> Solution:
        """Train, certify, and say what was found; called by `twosided.solve`."""
        if is_traced(problem):
            raise ValueError("Neural trains outside jit, grad and vmap; take Lattice() or ClosedForm() for derivatives")
        started = time.perf_counter()
        with jax.enable_x64(True):
            ansatz = self.ansatz(problem)
            progress = self.trained(ansatz, self.stated(problem), f"{type(problem).__name__}")
            ansatz = jax.tree.map(np.asarray, with_weights(ansatz, progress))
            found = certify(ansatz, self)
        reason = verdict(found, self.tolerance)
        stats = {
            "method": "Neural",
            "seconds": time.perf_counter() - started,
            "training_seconds": progress.seconds,
            "iterations": progress.iteration,
            "weights": len(progress.weights),
            "history": progress.history.tolist(),
            "certificates": found,
            "verdict": reason.name,
        }
        if not isinstance(problem, MultiAssetDealer):
            with jax.enable_x64(True):
                return line_solution(problem, self, ansatz, stats)
        return NeuralSolution(
            problem,
            self,
            stats=stats,
            surface=NeuralSurface(ansatz),
            residual_found=found["residual"],
            error_found=found["error"],
            reason=reason,
        )

    def fit(self, equation: Equation) -> Fitted:
        """Train any `Equation`, a dealer's or not, and check its residual on fresh points."""
        with jax.enable_x64(True):
            ansatz = untrained(equation, jax.random.key(self.seed), self.width, self.depth)
            task = type(equation).__name__
            numbers = [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(equation)]
            progress = self.trained(ansatz, {"equation": task, "numbers": numbers, "method": self._shaping()}, task)
            ansatz = jax.tree.map(np.asarray, with_weights(ansatz, progress))
            value = np.asarray(ansatz(equation.horizon, equation.start))
            return Fitted(ansatz, value, fresh_residual(ansatz, self)[0], progress.seconds, progress.iteration)

    def ansatz(self, problem: Any) -> Ansatz:
        """The baseline with an untrained network."""
        equation = _equation_of(problem, self.with_mean)
        start = untrained_series if isinstance(equation, LineEquation) else untrained
        return start(equation, jax.random.key(self.seed), self.width, self.depth)

    def trained(self, ansatz: Ansatz, stated: dict[str, Any], task: str) -> Progress:
        """Train from the checkpoint, or from the start; whatever ends it, the checkpoint is whole."""
        path = None if self.checkpoint is None else Path(self.checkpoint)
        progress = None if path is None else load_checkpoint(path, stated)
        progress = begin(ansatz, self.schedule) if progress is None else progress
        saved = time.perf_counter()

        with shown(task, self.schedule, self.progress) as show:

            def told(progress: Progress) -> None:
                nonlocal saved
                show(progress)
                if path is not None and time.perf_counter() - saved > _EVERY:
                    save_checkpoint(path, progress, stated)
                    saved = time.perf_counter()

            progress = train(ansatz, progress, self.schedule, told)
        if path is not None:
            save_checkpoint(path, progress, stated)
        return progress

    def stated(self, problem: Any) -> dict[str, Any]:
        """What a checkpoint belongs to: the problem, and the settings that shape the steps."""
        return {"problem": case.to_data(problem), "method": self._shaping()}

    def _shaping(self) -> dict[str, Any]:
        names = ("width", "depth", "points", "refresh", "tolerance", "seed", "with_mean")
        return {name: getattr(self, name) for name in names}

    def restore(self, problem: Any, data: Any) -> Solution:
        """The solution from a dataset that its `save` wrote."""
        import json

        if not isinstance(problem, MultiAssetDealer):
            return restored_line(from_tables(problem, self, data))
        with jax.enable_x64(True):
            shape = eqx.filter_eval_shape(self.ansatz, problem)
        surface = NeuralSurface(filled(shape, problem, data["network"].values))
        return NeuralSolution(
            problem,
            self,
            stats=json.loads(data.attrs["stats"]),
            surface=surface,
            residual_found=float(data.attrs["residual"]),
            error_found=float(data.attrs["error"]),
            reason=Result[data.attrs["reason"]],
        )


def _equation_of(problem: Any, with_mean: bool) -> FillEquation:
    if isinstance(problem, MultiAssetDealer):
        return _book_equation(problem, with_mean)
    simple = isinstance(problem, InventoryDealer) or (
        isinstance(problem, StockCashDealer) and not any(getattr(problem, name, False) for name in _BEYOND)
    )
    if not simple:
        raise ValueError(
            f"Neural solves books of assets and dealers in one inventory whose cash account drops out, not this "
            f"{type(problem).__name__}; leave the method out and the one that fits is taken"
        )
    equation = _line_equation(problem)
    return dataclasses.replace(equation, half=int(np.ceil(float(equation.reach) - 1e-9)))


@eqx.filter_jit
def _book_equation(problem: MultiAssetDealer, with_mean: bool) -> BookEquation:
    return BookEquation.of(problem, with_mean)


@eqx.filter_jit
def _line_equation(problem: Any) -> LineEquation:
    return LineEquation.of(problem)


def fresh_residual(ansatz: Ansatz, method: Neural) -> tuple[float, float]:
    """Root mean square and largest relative residual over points that training has not seen."""
    tau, x = drawn(ansatz, method.schedule, _FRESH_SAMPLE)
    found = np.asarray(residuals(ansatz, jnp.asarray(np.inf), tau, x))
    return float(np.sqrt(np.mean(found**2))), float(np.max(np.abs(found)))


def certify(ansatz: Ansatz, method: Neural) -> dict[str, Any]:
    """What the network leaves of the equation, its simulated value, and the exact one where it is known; plain data.

    Let `u` satisfy `-u_tau + H(u) = R`, `R` money per unit of time. Ito's formula along the quotes that `u` implies,
    and along the optimal ones, for which `H` is no more than an upper bound, encloses the value:

        E^learned int_0^T R dt  <=  V(0, start) - u(T, start)  <=  E^optimal int_0^T R dt.

    So `E int |R| dt / |u|`, over the states that the learned quotes visit from the start, bounds the relative error of
    the value as far as these quotes visit what the optimal ones do: that is the `residual` judged. Residuals where
    nobody goes, or that cancel before anyone notices, do not count by more than they cost.
    """
    equation: Any = ansatz.equation
    sampled, largest = fresh_residual(ansatz, method)
    claimed = float(ansatz(equation.horizon, equation.start)[0])
    paths, simulated, exact = _simulated(ansatz, method, claimed)
    result: dict[str, Any] = {
        "residual": path_defect(ansatz, paths) / max(abs(claimed), 1e-300),
        "sampled_residual": sampled,
        "largest_residual": largest,
        "value": claimed,
        "simulated": simulated.value,
        "simulated_error": simulated.error,
    }
    off = abs(simulated.value - claimed) + 2 * simulated.error
    if exact is not None:
        result |= {"exact": exact.value, "exact_error": exact.error}
        off = abs(exact.value - claimed) + 2 * exact.error
    return {**result, "error": float(off)}


def path_defect(ansatz: Ansatz, paths: Any) -> float:
    """`E int |R| dt`, money, by the worse of value and mean, over the states that the first block of paths visits."""
    equation: Any = ansatz.equation
    tau, x = paths.tau[:_BLOCK].ravel(), paths.x[:_BLOCK].reshape(paths.tau[:_BLOCK].size, -1)
    relative = np.asarray(residuals(ansatz, jnp.asarray(np.inf), tau, x))
    unit = np.asarray(_units(equation, tau, x))
    return float(np.max(np.mean(np.abs(relative) * unit[:, None], 0)) * equation.horizon)


@eqx.filter_jit
def _units(equation: FillEquation, tau: Any, x: Any) -> Any:
    return jax.vmap(equation.unit)(tau, x)


def _simulated(ansatz: Ansatz, method: Neural, claimed: float) -> tuple[Any, Estimate, Estimate | None]:
    """Blocks of paths until both are known well enough, or there is no patience left."""
    from .._book_lattice import linear_system

    equation: Any = ansatz.equation
    problem, blocks = equation.problem, []
    key = jax.random.fold_in(jax.random.key(method.seed), _FRESH_PATHS)
    linear, kappa, looks = is_linear(problem), np.nan, max(1, method.points // _BLOCK)
    if linear:
        kappa = float(linear_system(problem)[0])
    for number in range(_BLOCKS):
        blocks.append(simulate(ansatz, jax.random.fold_in(key, number), _BLOCK, looks))
        paths = jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)
        simulated = value_of(paths, problem.objective, isinstance(problem.objective, MeanVariance))
        exact = linear_value(paths, claimed, kappa) if linear else None
        worst = max(estimate.error for estimate in (simulated, exact) if estimate is not None)
        if worst <= 0.5 * SURE * method.tolerance * abs(claimed):
            break
    return paths, simulated, exact


def verdict(found: dict[str, Any], tolerance: float) -> Result:
    """The first certificate that fails, or `CONVERGED`."""
    if not np.isfinite(found["value"]):
        return Result.NOT_FINITE
    if not found["residual"] <= tolerance:
        return Result.RESIDUAL
    allowed = tolerance * abs(found["value"])
    for name, failed in (("simulated", Result.SIMULATED_VALUE), ("exact", Result.EXACT_VALUE)):
        if name in found:
            off, error = abs(found[name] - found["value"]), found[f"{name}_error"]
            if not (off <= allowed and error <= SURE * allowed):
                return failed
    return Result.CONVERGED
