"""The calibration as aligned plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._inference import Estimate, FitTest

if TYPE_CHECKING:
    from ._likelihood import IntensityFit
    from ._record import Calibration


def render(record: Calibration) -> str:
    """Market first, then each definition's fits, the chosen one marked."""
    parts = [_title(record), _columns(_market(record))]
    for name, sides in record.fits.items():
        mark = " (chosen)" if name == record.definition else ""
        rows = [_FIT_HEAD, *(_fit(side, fit) for side, fit in sides.items())]
        parts.append(f"{name}{mark}: {record.meanings[name]}\n{_columns(rows)}")
    parts.append(_LEGEND)
    return "\n\n".join(parts)


_FIT_HEAD = ("", "A per s", "k per dollar", "LS A", "LS k", "p shape", "p waiting", "p depth", "fills")
_LEGEND = (
    "Fills follow A exp(-k d) per second and side at d dollars from the mid, by maximum likelihood; ( ): standard\n"
    "errors. LS: least squares against likelihood. p: tests against another shape over the distance and against\n"
    "waiting times that are not exponential, both robust to dependence, and Pearson's of independent depths."
)


def _title(record: Calibration) -> str:
    opening, closing = (_clock(t) for t in record.session)
    return f"{record.source} ({record.venue}), {opening} to {closing}, {record.session_seconds:g} s"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _market(record: Calibration) -> list[tuple[str, ...]]:
    return [
        ("market orders", f"{record.market_orders}", ""),
        ("market orders per second", *_number(record.market_order_rate_per_second)),
        ("median market order, units", f"{record.median_market_order_size:g}", ""),
        ("median spread, dollars", f"{record.median_spread_dollars:.4g}", ""),
        ("tick, dollars", f"{record.tick_dollars:.4g}", ""),
        ("volatility, dollars per sqrt(s)", *_number(record.volatility_per_sqrt_second)),
        ("realised at 1 s", *_number(record.realised_volatility_per_sqrt_second)),
        ("drift, dollars per second", *_number(record.drift_per_second)),
    ]


def _fit(side: str, fit: IntensityFit) -> tuple[str, ...]:
    excess = fit.least_squares_excess()
    gaps = [f"{100 * gap:+.1f}%" for gap in excess] if excess else ["", ""]
    return (
        side,
        " ".join(_number(fit.scale_per_second)),
        " ".join(_number(fit.decay_per_dollar)),
        *gaps,
        *(_p(test) if test else "" for test in (fit.shape_test, fit.waiting_test, fit.depth_test)),
        f"{fit.curve.fills[0]:.0f}",
    )


def _number(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.value:.4g}", f"({estimate.standard_error:.2g})"


def _p(test: FitTest) -> str:
    return "<.001" if test.p_value < 0.001 else f"{test.p_value:.3f}"


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
