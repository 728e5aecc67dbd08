"""A dealer in several currency pairs whose prices move together.

Every pair is a `CurrencyDealer` of its own, with its clients, ladder and market to hedge in; what ties the pairs is
their risk. With `q` the positions in M, one to a pair, and `Sigma_ij = rho_ij sigma_i sigma_j` in bp^2 per day,

    theta_tau = -(gamma/2) q' Sigma q + sum over pairs of [ sum z H(p) + Hhedge(theta_{q_i} + k_i q_i) ],

in the notation of `models.currency`. Positions do not net through a common currency: EURUSD and USDJPY are hedged
each in its own market, and a cross is a pair like any other.

Source: Barzykin, Bergault and Gueant, "Dealing with multi-currency inventory risk in FX cash markets" (2022), whose
positions are in currencies; here they are in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from ._precision import in_float64, parameter
from .currency import CurrencyDealer
from .problem import Dealer

_DEFINITE = 1e-10


def _as_tuple(pairs: Any) -> tuple[Any, ...]:
    return (pairs,) if isinstance(pairs, CurrencyDealer) else tuple(pairs)


class CurrencyBook(Dealer):
    """`pairs` with the `correlation` of their prices, shape (pairs, pairs).

    All pairs share horizon and risk aversion. The state is `inventory`, M, with the pairs on its last axis. Raises
    `ValueError` or `TypeError` naming the argument and the mend.
    """

    names: ClassVar[tuple[str, ...]] = ("inventory",)
    units: ClassVar[dict[str, str]] = {"state": "M", "money": "bp M", "time": "day", "distance": "bp"}
    moves: ClassVar[bool] = True
    listed: ClassVar[tuple[str, ...]] = ("correlation", "inventory")

    pairs: tuple[Any, ...] = eqx.field(converter=_as_tuple)
    correlation: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        if any(type(pair) is object for pair in self.pairs):
            return
        for number, pair in enumerate(self.pairs):
            if not isinstance(pair, CurrencyDealer):
                raise TypeError(f"CurrencyBook: pairs[{number}] must be a CurrencyDealer, got {pair!r}")
        if not self.pairs:
            raise ValueError("CurrencyBook: pairs must name at least one CurrencyDealer")
        for field in ("horizon", "risk_aversion"):
            values = [getattr(pair, field) for pair in self.pairs]
            if any(np.any(value != values[0]) for value in values):
                raise ValueError(f"CurrencyBook: all pairs must have one {field}, got {[float(v) for v in values]}")
        if isinstance(self.correlation, np.ndarray):
            check_correlation("CurrencyBook", self.correlation, len(self.pairs))

    @property
    def dimension(self) -> int:
        """How many pairs there are."""
        return len(self.pairs)

    @property
    def horizon(self) -> Any:
        return self.pairs[0].horizon

    @property
    def risk_aversion(self) -> Any:
        return self.pairs[0].risk_aversion

    @property
    def covariance(self) -> Any:
        """`Sigma`, bp^2 per day, shape (pairs, pairs)."""
        volatility = self.of_pairs("volatility")
        return self.correlation * volatility[:, None] * volatility[None]

    @property
    def size(self) -> Any:
        return self.of_pairs("size")

    @property
    def limit(self) -> Any:
        return self.of_pairs("max_inventory")

    def of_pairs(self, field: str) -> np.ndarray:
        """One number of every pair, shape (pairs,)."""
        return np.stack([np.asarray(getattr(pair, field)) for pair in self.pairs])

    @in_float64
    def worth(self, tau: Any, inventory: Any = 0.0) -> Any:
        return 0.0 * inventory[..., 0]


def check_correlation(name: str, correlation: np.ndarray, dimension: int) -> None:
    """Raise `ValueError` unless this is a correlation matrix of that many pairs."""
    if correlation.shape != (dimension, dimension):
        raise ValueError(
            f"{name}: correlation must have a row and a column for each of {dimension} pairs, got {correlation.shape}"
        )
    if not np.all(np.isfinite(correlation)) or np.any(correlation != correlation.T):
        raise ValueError(f"{name}: correlation must be finite and symmetric; take (c + c.T)/2")
    if np.any(np.abs(np.diag(correlation) - 1) > 1e-12):
        raise ValueError(f"{name}: correlation must have ones on its diagonal, got {np.diag(correlation)}")
    least = float(np.linalg.eigvalsh(correlation)[0])
    if least < -_DEFINITE:
        raise ValueError(f"{name}: correlation must be positive semi-definite, but has the eigenvalue {least:.3g}")


def as_book(problem: CurrencyDealer | CurrencyBook | Sequence[CurrencyDealer]) -> CurrencyBook:
    """A dealer in one pair as a book of one."""
    return CurrencyBook((problem,), [[1.0]]) if isinstance(problem, CurrencyDealer) else problem  # type: ignore
