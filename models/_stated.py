"""Base of everything in `models`: frozen, a JAX pytree, and printed as the call that builds it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import numpy as np


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{float(value):g}" if value.ndim == 0 else f"<{'x'.join(map(str, value.shape))} numbers>"
    if isinstance(value, str):
        return repr(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class Stated(eqx.Module):
    """A frozen statement: its `repr` shows names and values, so that a printed problem can be read and retyped.

    listed: arguments and state variables that may be lists of numbers where all others are one number; of a part, such
            as a demand, its own numbers.
    """

    listed: ClassVar[tuple[str, ...]] = ()

    def arguments(self) -> dict[str, Any]:
        """The arguments that build this object again, by name."""
        return {f.name: getattr(self, f.name, None) for f in dataclasses.fields(self)}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in self.arguments().items())
        return f"{type(self).__name__}({shown})"
