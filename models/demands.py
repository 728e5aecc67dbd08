"""One demand curve per asset, evaluated together: curves of one class become one curve with arrays for parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._precision import in_float64, is_traced
from .demand import Demand


class Demands(eqx.Module):
    """The demand of one side of a book, one curve per asset; `demands[i]` is asset `i`'s own.

    groups:  demands of one class each, every parameter with an axis for the group's assets.
    places:  the assets of each group.
    """

    groups: tuple[Demand, ...]
    places: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __init__(self, each: Sequence[Demand]):
        shapes: dict[Any, list[int]] = {}
        for i, demand in enumerate(each):
            key = (jax.tree.structure(demand), *(np.shape(leaf) for leaf in jax.tree.leaves(demand)))
            shapes.setdefault(key, []).append(i)
        self.places = tuple(tuple(members) for members in shapes.values())
        self.groups = tuple(jax.tree.map(_stack, *(each[i] for i in members)) for members in self.places)

    def __len__(self) -> int:
        return sum(map(len, self.places))

    def __getitem__(self, asset: int) -> Demand:
        for demand, members in zip(self.groups, self.places, strict=True):
            if asset in members:
                row = members.index(asset)
                return jax.tree.map(lambda leaf, row=row: leaf[row], demand)
        raise IndexError(f"there is no asset {asset}; the book has {len(self)}, counted from 0")

    def __iter__(self) -> Iterator[Demand]:
        return (self[i] for i in range(len(self)))

    @property
    def shared(self) -> Demand | None:
        """The one demand of all assets, or None where they differ or cannot be told apart."""
        only, *others = self.groups
        if others or is_traced(only):
            return None
        return self[0] if all(np.all(leaf == leaf[:1]) for leaf in jax.tree.leaves(only)) else None

    def each(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """`function(demand, *numbers)` asset by asset: every array and every result has the assets on its last axis."""
        parts = []
        for demand, members in zip(self.groups, self.places, strict=True):
            own = arrays if len(self.groups) == 1 else [array[..., np.asarray(members)] for array in arrays]
            axes = (0, *(-1 for _ in own))
            parts.append(jax.vmap(function, in_axes=axes, out_axes=-1)(demand, *own))
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate([np.asarray(members) for members in self.places]))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=-1)[..., order], *parts)

    def _intensity(self, distance: Any) -> Any:
        return self.each(lambda demand, x: demand._intensity(x), distance)

    @in_float64
    def intensity(self, distance: Any) -> Any:
        """`Lambda_i(x_i)`, fills per unit of time, for distances of shape (..., assets)."""
        return self._intensity(distance)


def _stack(*leaves: Any) -> Any:
    return (jnp if is_traced(leaves) else np).stack(leaves)
