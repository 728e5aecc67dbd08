"""A dealer's book of several assets whose prices move together.

    dP_i = mu_i dt + sigma_i dZ_i,  d<Z_i, Z_j> = rho_ij dt,    dq_i = dN_i^b - dN_i^a,    D_i = lot_i

The marked book is `X + sum_i q_i D_i P_i`; a fill of asset `i` at distance `x` adds `D_i x` to it. The value above it,
`theta(tau, q)`, and the expected wealth above it, `h(tau, q)`, obey, with `tau = T - t` the time to go,

    theta_tau = sum_i mu_i D_i q_i - running_cost(q)
                + sum_{i, s = +-1} sup_x Lambda_i^s(x) U(D_i x, theta(q + s e_i) - theta(q), h(q + s e_i) - h(q)),
    h_tau     = sum_i mu_i D_i q_i + sum_{i, s} Lambda_i^s(x*) (D_i x* + h(q + s e_i) - h(q)),
    theta(0, q) = -terminal_cost(q),    h(0, q) = 0,

where a side is left out if its fill would cross the limit. Gueant (2017, section 4); Bergault, Evangelista, Gueant and
Vieira (2021). Arrays of inventory have the assets on their last axis and count lots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._precision import check, check_single, in_float64, is_traced, parameter
from .channels import Channel
from .demand import Demand
from .demands import Demands
from .objectives import Objective, PreCommitment
from .problem import Dealer, State

_DEFINITE = 1e-10
"""How far below zero an eigenvalue may lie, in units of the largest: rounding, where a covariance has no full rank."""


class Response(NamedTuple):
    """What the dealer does on one side, and what it brings; every field of shape (..., assets).

    distance:  the best distance; nan where no payment makes a fill worth it.
    rate:      fills per unit of time at it, zero where not quoted.
    gain:      `rate * U`, money per unit of time: the side's share of `theta_tau`.
    income:    `D x`, money that a fill earns on the spot, zero where not quoted.
    """

    distance: Any
    rate: Any
    gain: Any
    income: Any


class MultiAssetDealer(Dealer):
    """A dealer in `d` assets who holds `q_i` lots of asset `i`, `|q_i| <= max_inventory_i`.

    volatility:              `sigma`, shape (d,): per sqrt(time), in price units.
    horizon:                 `T`, in the caller's unit of time; all rates use the same.
    bid_demand, ask_demand:  fills (of one lot) per unit of time against the distance in price units; a sequence of `d`
                             demands, or one for all assets.
    lot:                     `D`, units of the asset per fill, shape (d,) or one for all.
    max_inventory:           bound on `|q_i|` in lots, whole numbers or `inf`, shape (d,) or one for all.
    objective:               of the marked book; `RiskPenalty`, `ExponentialUtility`, `MeanVariance` and
                             `MeanQuadraticVariation` charge the covariance, `RunningPenalty` charges `|q|^2`.
    correlation:             `rho`, shape (d, d), or one number common to all pairs; by default 0.
    drift:                   `mu`, shape (d,) or one for all: price units per unit of time.

    Raises `ValueError` where shapes do not match, where the covariance is not positive semi-definite (naming the
    eigenvalue) or where a limit is no whole number of lots.
    """

    names: ClassVar[tuple[str, ...]] = ("inventory",)
    units: ClassVar[dict[str, str]] = {"state": "lots", "money": "money", "time": "time", "distance": "price"}
    moves: ClassVar[bool] = False
    listed: ClassVar[tuple[str, ...]] = ("volatility", "lot", "max_inventory", "correlation", "drift", "inventory")

    volatility: Any
    horizon: Any
    bid_demand: Demands
    ask_demand: Demands
    lot: Any
    max_inventory: tuple[float, ...] = eqx.field(static=True)
    objective: Objective
    correlation: Any
    drift: Any

    def __init__(
        self,
        volatility: Any,
        horizon: Any,
        bid_demand: Any,
        ask_demand: Any,
        lot: Any,
        max_inventory: Any,
        objective: Any,
        correlation: Any = None,
        drift: Any = 0.0,
    ):
        self.volatility, self.horizon = parameter(volatility), parameter(horizon)
        if np.ndim(self.volatility) != 1 or np.size(self.volatility) == 0:
            raise ValueError(
                f"{self._name}: volatility must have one number per asset, shape (d,), got shape "
                f"{np.shape(self.volatility)}; it fixes how many assets there are"
            )
        count = np.shape(self.volatility)[0]
        self.bid_demand = self._demands("bid_demand", bid_demand, count)
        self.ask_demand = self._demands("ask_demand", ask_demand, count)
        self.lot = self._per_asset("lot", lot, count)
        self.drift = self._per_asset("drift", drift, count)
        self.max_inventory = self._limits(max_inventory, count)
        self.objective = objective
        self.correlation = parameter(0.0 if correlation is None else correlation)

    def __check_init__(self) -> None:
        name = self._name
        check_single(name, self)
        check(f"{name}: horizon", self.horizon, above=0, hint="it is the time to go, in the unit of time of the rates")
        check(f"{name}: volatility", self.volatility, least=0, hint="it is in price units per square root of time")
        check(f"{name}: lot", self.lot, above=0, hint="it is the units of the asset traded per fill")
        check(f"{name}: drift", self.drift, hint="it is in price units per unit of time")
        if not isinstance(self.objective, Objective):
            raise TypeError(
                f"{name}: objective must be one such as MeanVariance(risk_aversion), got {self.objective!r}"
            )
        if isinstance(self.objective, PreCommitment):
            raise ValueError(f"{name}: PreCommitment depends on wealth and is for StockCashDealer; take MeanVariance")
        self._check_correlation()

    @classmethod
    def with_covariance(cls, covariance: Any, *args: Any, **settings: Any) -> MultiAssetDealer:
        """The dealer whose prices have this covariance, shape (d, d), price units squared per unit of time.

        The other arguments are the constructor's, without `volatility` and `correlation`.
        """
        covariance = np.asarray(covariance, dtype=np.float64)
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"{cls.__name__}: covariance must be square, shape (d, d), got shape {covariance.shape}")
        _check_definite(f"{cls.__name__}: covariance", covariance)
        volatility = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
        scale = np.where(volatility > 0, volatility, 1.0)
        correlation = covariance / np.outer(scale, scale)
        np.fill_diagonal(correlation, 1.0)
        return cls(volatility, *args, **settings, correlation=correlation)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, limits asset by asset."""
        whole = super().arguments()
        sides = {name: whole[name].shared or tuple(whole[name]) for name in ("bid_demand", "ask_demand")}
        return {**whole, **sides, "max_inventory": np.asarray(self.max_inventory)}

    @property
    def dimension(self) -> int:
        """How many assets there are, `d`."""
        return len(self.max_inventory)

    @property
    def size(self) -> Any:
        return np.ones(self.dimension)

    @property
    def limit(self) -> Any:
        return np.asarray(self.max_inventory)

    @property
    def correlation_matrix(self) -> Any:
        """`rho`, shape (d, d)."""
        if np.ndim(self.correlation) == 2:
            return self.correlation
        identity = np.eye(self.dimension)
        return identity + self.correlation * (1 - identity)

    @property
    def covariance(self) -> Any:
        """`sigma_i sigma_j rho_ij`, shape (d, d), price units squared per unit of time."""
        return self.correlation_matrix * _outer(self.volatility)

    @property
    def lot_covariance(self) -> Any:
        """`D_i D_j sigma_i sigma_j rho_ij`: the covariance of the assets' lots, money squared per unit of time."""
        return self.correlation_matrix * _outer(self.volatility * self.lot)

    @in_float64
    def variance_rate(self, q: Any) -> Any:
        """`q' Sigma q` with `q` (..., d) in lots: variance of the marked book, money squared per unit of time."""
        q = jnp.asarray(q)
        pairs = q[..., :, None] * q[..., None, :]  # sums, not matrix products: these round alike in any batch
        return jnp.sum(pairs * jnp.broadcast_to(self.lot_covariance, pairs.shape), axis=(-1, -2))

    @in_float64
    def income(self, q: Any) -> Any:
        """Expected growth of the marked book, money per unit of time."""
        return jnp.sum(q * jnp.broadcast_to(self.drift * self.lot, jnp.shape(q)), axis=-1)

    @in_float64
    def running_cost(self, q: Any) -> Any:
        """Money per unit of time that the objective charges for holding `q` (..., d), in lots."""
        exposure = _root(self.variance_rate(q))
        return self.objective.running_cost(exposure, jnp.zeros_like(exposure), _root(jnp.sum(q * q, axis=-1)))

    @in_float64
    def terminal_cost(self, q: Any) -> Any:
        """Money that the objective charges for what is left at the horizon, `q` (..., d) in lots."""
        return self.objective.terminal_cost(_root(jnp.sum(q * q, axis=-1)))

    def may_fill(self, side: int, y: Any, *others: Any) -> Any:
        """Whether a fill of each asset on `side` keeps its limit, shape (..., d) like the inventory `y`."""
        return side * y + 1.0 <= jnp.broadcast_to(self.limit + 1e-9, jnp.shape(y))

    def demands(self, side: int) -> Demands:
        """The demand curves of the bid (`side` +1) or the ask (-1)."""
        return self.bid_demand if side > 0 else self.ask_demand

    def response(self, side: int, value_change: Any, mean_change: Any) -> Response:
        """The best distances of one side, given by how much its fills change `theta` and `h`, each (..., d).

        Limits are not looked at: mask with `may_fill`.
        """
        objective = self.objective

        def one(demand: Demand, lot: Any, dtheta: Any, dh: Any) -> Response:
            distance = demand.best_response(lambda ratio: objective.income_at(lot * ratio, dtheta, dh) / lot)
            quoting = jnp.isfinite(distance)
            x = jnp.where(quoting, distance, 0.0)
            rate = jnp.where(quoting, demand._intensity(x), 0.0)
            income = jnp.where(quoting, lot * x, 0.0)
            return Response(distance, rate, rate * objective.gain(lot * x, dtheta, dh), income)

        return self.demands(side).each(one, self.lot, value_change, mean_change)

    def channels(self, tau: Any = 0.0) -> tuple[Channel, ...]:
        """All `2 d` channels: bid and ask of the first asset, of the second, and so on. `size` is a jump of one lot."""
        unit = np.ones(())
        return tuple(
            Channel(side, self.demands(side)[i], unit, self.lot[i], np.zeros(()))
            for i in range(self.dimension)
            for side in (+1, -1)
        )

    @in_float64
    def worth(self, tau: Any, inventory: Any = 0.0) -> Any:
        return jnp.zeros(jnp.shape(inventory)[:-1])

    def coordinate(self, state: Any) -> Any:
        """The inventory (..., d) of a named state or a bare array; raises `ValueError` where its last axis is not d.

        A state that says nothing about the inventory is flat; with one asset a bare number will do.
        """
        given = state.get("inventory") if isinstance(state, Mapping) else state
        if given is None:
            return np.zeros(self.dimension)
        q = given if is_traced(given) else np.asarray(given, dtype=np.float64)
        q = q[None] if q.ndim == 0 and self.dimension == 1 else q
        if q.ndim == 0 or q.shape[-1] != self.dimension:
            raise ValueError(
                f"inventory must have one number per asset on its last axis, {self.dimension} here, got shape {q.shape}"
            )
        return q

    def state(self, q: Any) -> State:
        """The named state that holds `q` (..., d)."""
        return State(inventory=q)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _per_asset(self, name: str, value: Any, count: int) -> Any:
        value = parameter(value)
        if np.shape(value) == (count,):
            return value
        if np.ndim(value) == 0:
            return jnp.broadcast_to(value, (count,)) if is_traced(value) else np.full(count, value)
        raise ValueError(
            f"{self._name}: {name} must be one number or one per asset, {count} by volatility, got shape "
            f"{np.shape(value)}"
        )

    def _demands(self, name: str, given: Any, count: int) -> Demands:
        if isinstance(given, Demands):
            given = tuple(given)
        each = (given,) * count if isinstance(given, Demand) else given
        if not isinstance(each, Sequence) or not all(isinstance(demand, Demand) for demand in each):
            raise TypeError(
                f"{self._name}: {name} must be a demand such as Exponential(scale, decay), or one per asset, "
                f"got {given!r}"
            )
        if len(each) != count:
            raise ValueError(
                f"{self._name}: {name} must hold one demand per asset, {count} by volatility, got {len(each)}"
            )
        for i, demand in enumerate(each):
            check_single(type(demand).__name__, demand, f"{name}[{i}].")
        return Demands(each)

    def _limits(self, given: Any, count: int) -> tuple[float, ...]:
        """Limits shape the lattice, so they are plain numbers, never traced."""
        try:
            limits = tuple(float(x) for x in np.broadcast_to(np.asarray(given, dtype=float), (count,)))
        except TypeError:
            raise TypeError(
                f"{self._name}: max_inventory shapes the lattice and must be plain numbers of lots; it cannot be "
                "traced, batched or differentiated"
            ) from None
        except ValueError:
            raise ValueError(
                f"{self._name}: max_inventory must be one number or one per asset, {count} by volatility, got shape "
                f"{np.shape(given)}"
            ) from None
        for i, limit in enumerate(limits):
            if math.isnan(limit) or limit < 1:
                raise ValueError(
                    f"{self._name}: max_inventory must be at least one lot, got {limit:g} for asset {i}; it is counted "
                    "in lots"
                )
            if math.isfinite(limit) and abs(limit - round(limit)) > 1e-9:
                raise ValueError(
                    f"{self._name}: max_inventory must be a whole number of lots, got {limit:g} for asset {i}; "
                    "round it down"
                )
        return limits

    def _check_correlation(self) -> None:
        rho, d, name = self.correlation, self.dimension, f"{self._name}: correlation"
        if np.shape(rho) not in ((), (d, d)):
            raise ValueError(f"{name} must be one number or have shape ({d}, {d}), by volatility, got {np.shape(rho)}")
        if is_traced(rho):
            return
        check(name, rho)
        if np.any(np.abs(rho) > 1 + 1e-12):
            raise ValueError(f"{name} must lie between -1 and 1, got {rho.flat[np.argmax(np.abs(rho))]:g}")
        matrix = self.correlation_matrix
        if np.any(np.abs(np.diagonal(matrix) - 1) > 1e-12):
            raise ValueError(
                f"{name} must have ones on its diagonal; for a covariance take with_covariance(covariance)"
            )
        _check_definite(name, matrix)


def factor_covariance(loadings: Any, specific: Any) -> np.ndarray:
    """`B B' + diag(s^2)`, shape (d, d): a few common factors, and what each asset does alone.

    loadings:  `B`, shape (d, factors): price units per sqrt(time) for a unit move of each uncorrelated factor.
    specific:  `s`, shape (d,) or one for all: volatility of its own, price units per sqrt(time).
    """
    loadings, specific = np.asarray(loadings, dtype=float), np.asarray(specific, dtype=float)
    if loadings.ndim != 2 or specific.shape not in ((), loadings.shape[:1]):
        raise ValueError(
            f"factor_covariance: loadings must have shape (assets, factors) and specific one number per asset, got "
            f"shapes {loadings.shape} and {specific.shape}"
        )
    check("factor_covariance: loadings", loadings)
    check("factor_covariance: specific", specific, least=0, hint="it is a volatility, not a variance")
    return loadings @ loadings.T + np.diag(np.broadcast_to(specific**2, loadings.shape[0]))


def _check_definite(name: str, matrix: np.ndarray) -> None:
    """Raise `ValueError` unless symmetric and positive semi-definite."""
    check(name, matrix)
    gap = np.abs(matrix - matrix.T)
    if np.any(gap > 1e-12 * np.max(np.abs(matrix))):
        i, j = np.unravel_index(np.argmax(gap), gap.shape)
        raise ValueError(
            f"{name} must be symmetric, but has {matrix[i, j]:g} at ({i}, {j}) and {matrix[j, i]:g} at ({j}, {i})"
        )
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -_DEFINITE * max(eigenvalues[-1], 0.0):
        raise ValueError(
            f"{name} must be positive semi-definite, but has the eigenvalue {eigenvalues[0]:.6g}; no prices move like "
            "that: shrink the estimate towards its diagonal, or take factor_covariance(loadings, specific)"
        )


def _outer(x: Any) -> Any:
    return x[:, None] * x[None, :]


def _root(square: Any) -> Any:
    """The square root, with derivative zero at zero: its square has no derivative of another size there."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
