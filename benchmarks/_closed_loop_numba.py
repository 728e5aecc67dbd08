"""The closed loop as one writes it in numba: one book at a time, plain loops, nothing general."""

from __future__ import annotations

import math

import numpy as np
from numba import njit  # pyright: ignore[reportMissingImports]


@njit(inline="always")
def _next(state):  # xorshift64*, Vigna (2016)
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return ((x * np.uint64(2685821657736338717)) >> np.uint64(11)) * 2.0**-53


@njit
def _path(orders, every, size, aversion, limit, cancel, market, ticks, touch, depth, state, volume, there, pool, out):
    volume[:] = 0
    there[:] = 0
    held = 0
    for k in range(depth):
        for tick in (touch - 1 - k, touch + k):
            volume[tick] = depth
            there[tick] = depth
            for _ in range(depth):
                pool[held] = tick
                held += 1
    bid, ask = touch - 1, touch
    limits, most = limit.sum(), cancel.max()
    fixed = 2 * (limits + market)
    own_bid = own_ask = -1  # where the dealer quotes, what is left, what stands before it
    bid_left = ask_left = bid_ahead = ask_ahead = 0
    inventory = cash = fills = sent = 0
    time = 0.0
    due = True
    while sent < orders:
        if due:
            due = False
            aim = 0.5 * (bid + ask) - aversion * inventory
            b = min(max(min(math.floor(aim - 1), ask - 1), 0), ticks - 1)
            a = min(max(max(math.ceil(aim + 1), bid + 1), 0), ticks - 1)
            if b != own_bid or bid_left < size:
                bid_ahead = volume[b]
            if a != own_ask or ask_left < size:
                ask_ahead = volume[a]
            own_bid, bid_left, own_ask, ask_left = b, size, a, size
        first_bid = max(bid, own_bid) if bid_left > 0 else bid
        first_ask = min(ask, own_ask) if ask_left > 0 else ask
        total = fixed + held * most
        time -= math.log(1.0 - _next(state)) / total
        x = _next(state) * total
        arrived = False
        if x < 2 * market:
            arrived = True
            if x < market:  # buys
                if ask_left > 0 and own_ask == first_ask and ask_ahead == 0:
                    ask_left -= 1
                    inventory -= 1
                    cash += first_ask - touch
                    fills += 1
                elif first_ask < ticks:
                    volume[first_ask] -= 1
                    if ask_left > 0 and own_ask == first_ask:
                        ask_ahead -= 1
            else:
                if bid_left > 0 and own_bid == first_bid and bid_ahead == 0:
                    bid_left -= 1
                    inventory += 1
                    cash -= first_bid - touch
                    fills += 1
                elif first_bid >= 0:
                    volume[first_bid] -= 1
                    if bid_left > 0 and own_bid == first_bid:
                        bid_ahead -= 1
        elif x < fixed:
            x -= 2 * market
            buys = x < limits
            if not buys:
                x -= limits
            away = 0
            while away < limit.size - 1 and x >= limit[away]:
                x -= limit[away]
                away += 1
            tick = first_ask - 1 - away if buys else first_bid + 1 + away
            if 0 <= tick < ticks:
                arrived = True
                volume[tick] += 1
                there[tick] += 1
                pool[held] = tick
                held += 1
                if buys:
                    bid = max(bid, tick)
                else:
                    ask = min(ask, tick)
        else:
            index = min(int((x - fixed) / most), held - 1)
            tick = pool[index]
            is_bid = tick <= bid
            away = first_ask - tick if is_bid else tick - first_bid
            alive = volume[tick] / there[tick]
            u = _next(state)
            arrived = u < cancel[min(away, cancel.size) - 1] / most * alive
            if arrived:
                strike = _next(state) * volume[tick]
                if is_bid:
                    if bid_left > 0 and tick == own_bid and strike < bid_ahead:
                        bid_ahead -= 1
                elif ask_left > 0 and tick == own_ask and strike < ask_ahead:
                    ask_ahead -= 1
                volume[tick] -= 1
            if arrived or u >= alive:
                there[tick] -= 1
                held -= 1
                pool[index] = pool[held]
        while bid >= 0 and volume[bid] == 0:
            bid -= 1
        while ask < ticks and volume[ask] == 0:
            ask += 1
        if arrived:
            sent += 1
            due = sent % every == 0
    out[0], out[1], out[2], out[3] = cash + inventory * (0.5 * (bid + ask) - touch), inventory, fills, time


@njit
def simulate(books, orders, every, size, aversion, limit, cancel, market, ticks, touch, depth, capacity, seed):
    """(books, 4): wealth, inventory, fills, time."""
    out = np.empty((books, 4))
    volume, there = np.empty(ticks, np.int32), np.empty(ticks, np.int32)
    pool = np.empty(capacity + 1, np.int32)
    state = np.empty(1, np.uint64)
    for k in range(books):
        state[0] = np.uint64(seed * 1_000_003 + k) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
        for _ in range(8):
            _next(state)
        law = (orders, every, size, aversion, limit, cancel, market, ticks, touch, depth)
        _path(*law, state, volume, there, pool, out[k])
    return out
