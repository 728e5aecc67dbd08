"""Many books on many threads are what they are at once."""

import jax
import numpy as np
import pytest

from twosided.validation.matching import _blocks, in_blocks, in_parts, side_by_side


@jax.jit
def run(lanes, words, factor):
    """Something of each book and of its two words."""
    return {"sum": lanes + words.reshape(-1, 2).sum(axis=1), "words": words * factor}


@pytest.mark.parametrize(("threads", "parts"), [(1, 1), (3, 3), (4, 3)])
@pytest.mark.parametrize("double", [False, True])
def test_books_side_by_side_are_the_books_at_once_in_the_same_precision(monkeypatch, threads, parts, double):
    monkeypatch.setattr(_blocks, "threads", lambda: threads)
    with jax.enable_x64(double):
        given = (np.arange(6.0), np.arange(12.0) ** 2, 1.5)
        divided = in_parts(6, *given)
        assert len(divided) == parts
        found, expected = side_by_side(run, divided), run(*given)
    for name, whole in expected.items():
        assert found[name].dtype == (np.float64 if double else np.float32)
        np.testing.assert_array_equal(found[name], whole)


def test_an_array_that_does_not_belong_to_the_books_is_refused(monkeypatch):
    monkeypatch.setattr(_blocks, "threads", lambda: 2)
    with pytest.raises(ValueError, match=r"shape \(7,\) does not divide into 2 parts of as many books"):
        in_parts(6, np.zeros(7))
    with pytest.raises(ValueError, match=r"shape \(7,\) does not divide into 3 parts"):
        in_blocks(lambda array: array, 6, 2)(np.zeros(7))
