"""What the dealer wants: objectives, and what each makes of a fill, of risk, and of the end.

Symbols. `theta` is what the objective is worth above the marked book and `h` the expected wealth above it, both in
money at the horizon; `z = m (x - cost)` is what a fill at distance `x` earns on the spot; `Dtheta`, `Dh` are the
changes of `theta`, `h` by the fill's jump of the inventory. An objective turns them into the gain `U` of a fill,

    sup_x Lambda(x) U(z(x), Dtheta, Dh),

whose first-order condition is `U / U' = m R(x)`, `R` the reciprocal hazard of the demand (see `demand`). Hence an
objective needs to give two things: `gain`, which is `U`, and `income_at`, the inverse of `z -> U/U'`.

| objective             | U                                                     | running cost                        |
| MeanVariance          | z + Dtheta - (lambda/2) (z + Dh)^2                    | (lambda/2) (exposure + exposure_h)^2 |
| MeanQuadraticVariation| z + Dtheta - (lambda/2) z^2                           | (lambda/2) exposure^2                |
| ExponentialUtility    | (1 - e^{-gamma (z + Dtheta)}) / gamma                 | (gamma/2) exposure^2                 |
| RunningPenalty        | z + Dtheta                                            | running * lots^2                     |
| RiskPenalty           | z + Dtheta                                            | (gamma/2) exposure^2                 |

`exposure` is the loading of wealth on the Brownian motion, money per sqrt(time); `exposure_h` is the part that the
slope of `h` adds to it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._precision import check, in_float64, parameter
from ._stated import Stated
from .demand import exponential_gain, log1p_over


class Objective(Stated):
    """What the dealer maximises. See the table at the top of the module for each method's formula."""

    @abstractmethod
    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        """`U`, money at the horizon: what a fill that earns `income` is worth."""

    @abstractmethod
    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        """The income `z` at which `U/U' = ratio`; `nan` where no income makes the fill worth it."""

    @abstractmethod
    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        """Money at the horizon per unit of time."""

    def terminal_cost(self, lots: Any) -> Any:
        """Money charged at the horizon for the inventory left."""
        return jnp.zeros_like(lots)

    @property
    def no_quote_below(self) -> Any:
        """`Dtheta - Dh` at or below which no income makes a fill worth it, or None where there is no such point."""
        return None

    # What a simulated path is charged, so that a policy can be judged by the criterion it was derived for.

    def fill_cost(self, income: Any) -> Any:
        """Money charged to a path's criterion at a fill, apart from the fill's effect on wealth."""
        return jnp.zeros_like(income)

    def path_rate(self, exposure: Any, lots: Any) -> Any:
        """Money per unit of time charged to a path's criterion."""
        return jnp.zeros_like(exposure)

    @in_float64
    def score(self, wealth: Any, charge: Any) -> Any:
        """Per-path scores of shape (paths,), whose mean is the criterion and whose spread gives its standard error.

        `wealth` and `charge` are each path's terminal wealth and charge in money. Where the criterion is no mean of
        a function of the path, the scores are its influence function, so paired policies can be compared path by path.
        """
        return self._score(wealth - charge)

    def _score(self, wealth: Any) -> Any:
        return wealth


class _RiskAverse(Objective):
    """`E[W_T]` against `(lambda/2)` times a variance; `y = z + e Dh` with `e` one or zero by the reading."""

    risk_aversion: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check(
            f"{type(self).__name__}: risk_aversion",
            self.risk_aversion,
            least=0,
            hint="it is lambda in E - (lambda/2) Var, per unit of money",
        )

    @property
    def no_quote_below(self) -> Any:
        """`-1/(2 lambda)`: no payment can make up for the variance that the trade itself adds."""
        return jnp.where(
            self.risk_aversion > 0, -0.5 / jnp.where(self.risk_aversion > 0, self.risk_aversion, 1.0), -jnp.inf
        )

    def _smaller_root(self, ratio: Any, c: Any) -> Any:
        """The smaller root `y` of `(lambda/2) y^2 - (1 + lambda r) y + (r - c) = 0`, i.e. `U/U' = r`."""
        lam = self.risk_aversion
        worth_it = 1 + 2 * lam * c > 0
        b = 1 + lam * ratio
        root = jnp.sqrt(jnp.where(worth_it, b * b - 2 * lam * (ratio - c), 1.0))
        return jnp.where(worth_it, 2 * (ratio - c) / (b + root), jnp.nan)


class MeanVariance(_RiskAverse):
    """`E[W_T] - (lambda/2) Var[W_T]`, the equilibrium (time-consistent) reading.

    Each moment's self bargains with its successors: extended HJB of Bjork and Murgoci (2010). `V` and `E[W_T]` are
    solved together. Fills at `Dtheta - Dh <= -1/(2 lambda)` are not quoted for any payment.
    """

    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        return income + value_change - 0.5 * self.risk_aversion * (income + mean_change) ** 2

    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        return self._smaller_root(ratio, value_change - mean_change) - mean_change

    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        return 0.5 * self.risk_aversion * (exposure + mean_exposure) ** 2

    def _score(self, wealth: Any) -> Any:
        return wealth - 0.5 * self.risk_aversion * (wealth - jnp.mean(wealth)) ** 2


class MeanQuadraticVariation(_RiskAverse):
    """`E[W_T - (lambda/2) <e^{r (T-t)} W>_T]`: each gain is charged its own square (Wang and Forsyth 2012)."""

    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        return income + value_change - 0.5 * self.risk_aversion * income**2

    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        return self._smaller_root(ratio, value_change)

    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        return 0.5 * self.risk_aversion * exposure**2

    def fill_cost(self, income: Any) -> Any:
        return 0.5 * self.risk_aversion * income**2

    def path_rate(self, exposure: Any, lots: Any) -> Any:
        return 0.5 * self.risk_aversion * exposure**2


SURPLUS = ("kept", "set_aside")


class PreCommitment(_RiskAverse):
    """`E[W_T] - (lambda/2) Var[W_T]` seen from time 0 and adhered to: the target problem `min E[(W_T - w)^2]`.

    The best target is `w = E + 1/lambda`, chosen once for the accounts `stock` and `cash` (money) that the dealer has
    at time 0. Time-inconsistent on purpose: a dealer who is ahead of the target takes less risk, one behind it more.

    surplus: what becomes of wealth above the target. "kept": it counts against the dealer, who pays to lose it.
             "set_aside": the target problem is `min E[(min(W_T, w) - w)^2]`, nothing is paid to lose money, and mean,
             variance and target are of wealth net of the surplus (Dang and Forsyth 2016). Neither dominates the other.
    """

    surplus: str = eqx.field(static=True, default="kept")
    stock: Any = eqx.field(converter=parameter, default=0.0)
    cash: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        check("PreCommitment: risk_aversion", self.risk_aversion, above=0, hint="at zero there is no finite target")
        check("PreCommitment: stock", self.stock, hint="it is the stock account at time 0, in money")
        check("PreCommitment: cash", self.cash, hint="it is the cash account at time 0, in money")
        if self.surplus not in SURPLUS:
            raise ValueError(f"PreCommitment: surplus must be 'kept' or 'set_aside', got {self.surplus!r}")

    @property
    def no_quote_below(self) -> Any:
        return None

    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        raise _by_target()

    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        raise _by_target()

    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        raise _by_target()

    def _score(self, wealth: Any) -> Any:
        return wealth - 0.5 * self.risk_aversion * (wealth - jnp.mean(wealth)) ** 2


def _by_target() -> Exception:
    return ValueError(
        "PreCommitment depends on wealth and is solved by its target alone: take TargetMethod() with StockCashDealer"
    )


class ExponentialUtility(Objective):
    """`-(1/gamma) ln E[e^{-gamma W_T}]`, the certainty equivalent under constant absolute risk aversion `gamma`."""

    risk_aversion: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check(
            "ExponentialUtility: risk_aversion",
            self.risk_aversion,
            above=0,
            hint="it is gamma, per unit of money; for a risk-neutral dealer take RunningPenalty(0.0)",
        )

    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        return exponential_gain(income + value_change, self.risk_aversion)

    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        return log1p_over(ratio, self.risk_aversion) - value_change

    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        return 0.5 * self.risk_aversion * exposure**2

    def _score(self, wealth: Any) -> Any:
        log_mean = jax.nn.logsumexp(-self.risk_aversion * wealth) - jnp.log(wealth.size)
        surplus = jnp.exp(-self.risk_aversion * wealth - log_mean) - 1
        return -(log_mean + surplus) / self.risk_aversion


class RunningPenalty(Objective):
    """`E[W_T - int running q^2 dt - terminal q_T^2]`, `q` in lots; volatility enters it nowhere.

    `running` is money per lot^2 and unit of time, `terminal` money per lot^2. Gueant's choice is
    `running = gamma sigma^2 lot^2 / 2`; Cartea and Jaimungal call them `phi` and `alpha`.
    """

    running: Any = eqx.field(converter=parameter)
    terminal: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        check("RunningPenalty: running", self.running, least=0, hint="a negative penalty rewards inventory")
        check("RunningPenalty: terminal", self.terminal, least=0, hint="a negative penalty rewards inventory")

    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        return income + value_change

    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        return ratio - value_change

    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        return self.running * lots**2

    def terminal_cost(self, lots: Any) -> Any:
        return self.terminal * lots**2

    def path_rate(self, exposure: Any, lots: Any) -> Any:
        return self.running * lots**2


class RiskPenalty(Objective):
    """`E[W_T - (gamma/2) int exposure^2 dt - terminal q_T^2]`: risk-neutral in fills, charged for the risk of holding.

    `exposure^2` is the variance rate of the marked book, money squared per unit of time: `(sigma lot q)^2` for one
    asset, `q' Sigma q` for a book of several. `risk_aversion` is `gamma`, per unit of money; `terminal` is money per
    lot^2, on `|q|^2` for several assets. Gueant (2017) writes it as the limit `xi = 0`; for one asset it is
    `RunningPenalty(gamma sigma^2 lot^2 / 2, terminal)`.
    """

    risk_aversion: Any = eqx.field(converter=parameter)
    terminal: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        check("RiskPenalty: risk_aversion", self.risk_aversion, least=0, hint="it is gamma, per unit of money")
        check("RiskPenalty: terminal", self.terminal, least=0, hint="a negative penalty rewards inventory")

    def gain(self, income: Any, value_change: Any, mean_change: Any) -> Any:
        return income + value_change

    def income_at(self, ratio: Any, value_change: Any, mean_change: Any) -> Any:
        return ratio - value_change

    def running_cost(self, exposure: Any, mean_exposure: Any, lots: Any) -> Any:
        return 0.5 * self.risk_aversion * exposure**2

    def terminal_cost(self, lots: Any) -> Any:
        return self.terminal * lots**2

    def path_rate(self, exposure: Any, lots: Any) -> Any:
        return 0.5 * self.risk_aversion * exposure**2
