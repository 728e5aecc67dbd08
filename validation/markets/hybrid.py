"""The market of dealer and auction: one step for every set of rules, for many markets at once.

    step(market, moment, day, ...) -> market      one investor comes to each market
    run_days(...)                  -> daily figures

An investor who comes

1. trades with the dealer at its quote if that is open and it wants to trade at once, or if no order can be placed;
   it leaves if the quote is worse than the price it expects;
2. else places a limit order at the price it expects: matched as it comes where the auction is continuous (trades are at
   the *earlier* order's price), or taken in for the next call;
3. else, where trades are negotiated, meets one other investor, and they trade half-way if there is a price for both.

The dealer honours its quotes for any size, posts no orders, and may owe cash and stock. Whoever names a price that is
no multiple of the tick, the dealer too, has it rounded in its own favour: down for who buys, up for who sells. Nobody
sends what the rules would refuse. What is left at the close is cancelled. The next day's reference price is the average
price of today's trades, today's where there was none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._randomness import Key
from ..matching.auction import AuctionBook, call, collect, empty_auctions
from ..matching.book import Book, empty_books
from ..matching.engine import replay
from ..matching.messages import Answer, Kind, Message
from ..matching.rules import BookRules, OddLots
from ..matching.sessions import Deal, negotiate
from ._wide import Wide, product, wide
from .accounts import DEALER, Accounts, open_accounts
from .population import Crowd, People, crowd, fundamental_move
from .quotes import DealerQuotes, on_tick
from .rules import Moment, RuleNumbers

where = jnp.where

NOWHERE = 2**29
"""An ask so high, or less as a bid, that there is none."""


class Looks(NamedTuple):
    """What was seen before each arrival, in sums over the day; (books,), the depth `Wide` until a run ends.

    quoted, booked, priced: how often the dealer, the book, and the two together had a price on both sides.
    quote_spread, book_spread, spread: the sum of ask less bid then, ticks. The two floors do not meet, so the best
               ask of both may lie below the best bid of both: the last may be negative.
    depth:     units on offer within half of the investors' reach of the fundamental value, both sides together.
    looked:    how often something could be looked at.
    """

    quoted: jax.Array
    quote_spread: jax.Array
    booked: jax.Array
    book_spread: jax.Array
    priced: jax.Array
    spread: jax.Array
    depth: Any
    looked: jax.Array


class Market(NamedTuple):
    """Many markets in the middle of a day.

    book, auction: limit orders that meet as they come, and those that wait for a call; an order has its owner's number.
    anchor:  the price around which the dealer quotes, (books,) ticks.
    wanted, opening: units that each investor came for today, and had before, (books, 1 + investors).
    refused: deals that the rules refused, (books,).
    """

    book: Book
    auction: AuctionBook
    accounts: Accounts
    anchor: jax.Array
    wanted: jax.Array
    opening: jax.Array
    refused: jax.Array
    looks: Looks


class Today(NamedTuple):
    """What holds all day: the investors, the book's rules, and the fundamental value (books,)."""

    crowd: Crowd
    rules: BookRules
    fundamental: jax.Array


class DayFigures(NamedTuple):
    """The figures of a day; (days, books), whole numbers; money, excess and square `Wide` until a run ends.

    fundamental, price: the fundamental value and the average price of the day's trades, ticks.
    volume, trades, dealt, excess, square: see `Accounts`; the sums refer to the fundamental.
    came, wanted: orders, and units they were for.   filled: orders that traded at all.
    surplus:    of the investors: what they expect their trades to be worth above what they paid, ticks times units.
    inventory:  the dealer's at the close, units.
    earned:     the dealer's gain in the day with its stock marked at the fundamental, ticks times units.
    looks:      see `Looks`.
    refused:    orders and deals that the rules refused. Nobody sends such a thing, so any makes the market void.
    overflowed: messages for which the book had no room, likewise.
    """

    fundamental: jax.Array
    price: jax.Array
    volume: jax.Array
    trades: jax.Array
    dealt: jax.Array
    excess: Any
    square: Any
    came: jax.Array
    wanted: jax.Array
    filled: jax.Array
    surplus: Any
    inventory: jax.Array
    earned: Any
    looks: Looks
    refused: jax.Array
    overflowed: jax.Array


class Course(NamedTuple):
    """How a day went, arrival by arrival; (arrivals, books), whole numbers.

    inventory, cash: the dealer's after the arrival, units and ticks times units, which are `Wide` until a run ends.
    traded, price: units that the arrival traded, a call right after it included, and their average price in ticks, 0
                   where nothing was; in a market without a continuous auction all are at that price.
    dealt:         units of them that the dealer traded.
    anchor:        the price around which the dealer quotes from then on.
    waiting:       units of the orders that wait for a call.
    """

    inventory: jax.Array
    cash: Any
    traded: jax.Array
    price: jax.Array
    dealt: jax.Array
    anchor: jax.Array
    waiting: jax.Array


def _number(rule: Any) -> jax.Array:
    """A rule of the book that is there: a market states them all, see `RuleNumbers.book`."""
    return jnp.asarray(rule)


def _of(field: jax.Array, who: jax.Array) -> jax.Array:
    return jnp.take_along_axis(field, who[:, None], axis=1)[:, 0]


def affordable(
    population: People, lots: jax.Array, side: jax.Array, stock: jax.Array, lot: jax.Array, odd: Any = True
) -> jax.Array:
    """Units asked for: within the position limit, in whole lots; where `odd`, a remainder goes with the last lot."""
    room = where(side > 0, population.highest - stock, stock - population.lowest)
    whole = jnp.minimum(lots * lot, jnp.maximum(room, 0)) // lot * lot
    left = stock - whole
    return where(odd & (side < 0) & (left > 0) & (left < lot), stock, whole)


def _permitted(price: jax.Array, rules: BookRules) -> jax.Array:
    """Whether a price lies within the day's limits."""
    return (price >= _number(rules.lowest)) & (price <= _number(rules.highest))


def step(
    market: Market, arrival: jax.Array, now: Moment, today: Today, quotes: DealerQuotes, population: People
) -> Market:
    """The `arrival`-th investor comes to each market, and finds open what `now` says. Pure, for use inside `scan`."""
    crowd, rules = today.crowd, today.rules
    accounts = market.accounts
    who = jnp.take(crowd.arrival, arrival, axis=1)
    side, value = _of(crowd.side, who), _of(crowd.value, who)
    odd = _number(rules.odd_lots) != int(OddLots.REFUSED)
    size = affordable(population, _of(crowd.lots, who), side, _of(accounts.stock, who), _number(rules.lot), odd)
    bid, ask = quotes.at(market.anchor, accounts.stock[:, DEALER], _number(rules.tick))
    looks = _look(market, now, today, (bid, ask), population)
    wanted = market.wanted + where(_is(who, market.wanted), size[:, None], 0)

    places_orders = now.continuous | now.collecting
    to_dealer = now.dealer & (_of(crowd.at_once, who) | ~places_orders)
    quote = where(side > 0, ask, bid)
    acceptable = where(side > 0, value >= ask, value <= bid) & _permitted(quote, rules)
    with_dealer = where(to_dealer & acceptable, size, 0)
    deal = Deal(where(side > 0, who, DEALER), where(side > 0, DEALER, who), with_dealer, quote)
    talked = _talks(market, today, who, side, value, size)
    talking = now.negotiated & ~to_dealer & ~places_orders
    deal = jax.tree.map(lambda talk, quote: where(talking, talk, quote), talked, deal)
    fill, answer = negotiate(deal, rules)
    accounts = accounts.record(fill)
    refused = market.refused + (answer != int(Answer.ACCEPTED)).astype(jnp.int32)

    price = where(side > 0, jnp.minimum(value, _number(rules.highest)), jnp.maximum(value, _number(rules.lowest)))
    price = on_tick(price, side, _number(rules.tick))
    sends = ~to_dealer & (size > 0) & _permitted(price, rules)

    def order(open_now: Any) -> Message:
        kind = where(sends & open_now, int(Kind.LIMIT), int(Kind.NOTHING))
        return Message(kind, side, size, price, who, who)

    rows = order(now.continuous).rows()[:, None, :]
    book, accounts = replay(market.book, rows, accounts, rules, block=market.book.books)
    auction, _ = collect(market.auction, order(now.collecting), rules)
    market = Market(book, auction, accounts, market.anchor, wanted, market.opening, refused, looks)
    return lax.cond(now.called, lambda m: _called(m, rules), lambda m: m, market)


def _is(who: jax.Array, field: jax.Array) -> jax.Array:
    return jnp.arange(field.shape[1], dtype=jnp.int32)[None, :] == who[:, None]


def _talks(market: Market, today: Today, who: jax.Array, side: jax.Array, value: jax.Array, size: jax.Array) -> Deal:
    """What an investor and the one it meets agree on: half-way between their prices, and what both still want."""
    crowd, accounts = today.crowd, market.accounts
    other = _of(crowd.partner, who)
    theirs = _of(market.wanted - jnp.abs(accounts.stock - market.opening), other)
    opposite = _of(crowd.side, other) == -side
    lot, tick = _number(today.rules.lot), _number(today.rules.tick)
    mine, yours = on_tick(value, side, tick), on_tick(_of(crowd.value, other), -side, tick)
    price = on_tick((mine + yours) // 2, 1, tick)
    gains = (side * (mine - yours) >= 0) & _permitted(price, today.rules)
    both = jnp.minimum(size, theirs) // lot * lot
    agreed = where(opposite & gains & (who != other), both, 0)
    return Deal(where(side > 0, who, other), where(side > 0, other, who), agreed, price)


def _look(market: Market, now: Moment, today: Today, quotes: tuple[jax.Array, jax.Array], population: People) -> Looks:
    """What can be seen just before an investor comes."""
    book, looks, fundamental, (bid, ask) = market.book, market.looks, today.fundamental, quotes
    rules = today.rules
    band = population.reach // 2
    quotes = (
        where(now.dealer & (bid >= _number(rules.lowest)), bid, -NOWHERE),
        where(now.dealer & (ask <= _number(rules.highest)), ask, NOWHERE),
    )
    best = where(book.bid >= 0, book.best_bid, -NOWHERE), where(book.ask < book.layout.ticks, book.best_ask, NOWHERE)
    together = jnp.maximum(quotes[0], best[0]), jnp.minimum(quotes[1], best[1])

    price = book.origin[:, None] + jnp.arange(book.layout.ticks, dtype=jnp.int32)[None, :]
    near = jnp.abs(price - fundamental[:, None]) <= band
    resting = where(near, jnp.abs(book.depth), 0).sum(axis=1, dtype=jnp.int32)
    bids, asks = quotes[0] >= fundamental - band, quotes[1] <= fundamental + band
    sides = bids.astype(jnp.int32) + asks.astype(jnp.int32)
    # What the dealer must take at once is the largest order that anybody may bring.
    seen = where(now.dealer | now.continuous, resting + sides * population.most * _number(rules.lot), 0)
    sums = [sum_of for pair in (quotes, best, together) for sum_of in _spread(*pair)]
    looked = (now.dealer | now.continuous).astype(jnp.int32)
    new: Any = (*sums, wide(seen), looked)
    return Looks(*(so_far + more for so_far, more in zip(looks, new, strict=True)))


def _spread(bid: jax.Array, ask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether both sides have a price, and their difference if so."""
    both = (bid > -NOWHERE) & (ask < NOWHERE)
    return both.astype(jnp.int32), where(both, ask - bid, 0)


def _called(market: Market, rules: BookRules) -> Market:
    """All orders collected so far trade at one price, which is also what the dealer quotes around from then on."""
    left, cleared = call(market.auction, market.anchor, rules)
    anchor = where(cleared.volume > 0, cleared.price, market.anchor)
    accounts = market.accounts.record_all(cleared.fills).carried()
    return market._replace(auction=left, accounts=accounts, anchor=anchor)


def open_market(population: People, accounts: Accounts, today: Today, reference: jax.Array) -> Market:
    """The markets before anyone has come; `reference` (books,) is the price that the dealer quotes around."""
    books, investors, ticks = accounts.stock.shape[0], population.investors, population.prices
    # A price is rounded by less than a tick beyond what anybody expects.
    origin = today.fundamental - population.reach - (_number(today.rules.tick) - 1)
    none = jnp.zeros(books, jnp.int32)
    return Market(
        book=empty_books(books, orders=investors, ticks=ticks, origin=origin),
        auction=empty_auctions(books, orders=investors, ticks=ticks, origin=origin),
        accounts=accounts.new_day(today.fundamental),
        anchor=reference,
        wanted=jnp.zeros_like(accounts.stock),
        opening=accounts.stock,
        refused=none,
        looks=Looks(*[none] * len(Looks._fields))._replace(depth=wide(none)),
    )


class State(NamedTuple):
    """What a market takes from one day to the next; (books,) but for the accounts."""

    fundamental: jax.Array
    reference: jax.Array
    accounts: Accounts


def begin(population: People, books: int) -> State:
    """The evening before the first day: the reference price is the fundamental value."""
    start = jnp.full(books, population.start, jnp.int32)
    return State(start, start, open_accounts(books, population.investors, population.endowment))


def trading_day(
    state: State, day: jax.Array, market: jax.Array, key: Key, setting: Setting, population: People
) -> tuple[State, DayFigures, Course]:
    """One day of every market, `market` their numbers (books,): the state after it, its figures, and how it went."""
    fundamental = state.fundamental + fundamental_move(population, key, market, day)
    people = crowd(population, key, market, day, fundamental)
    today = Today(people, setting.rules.book(state.reference), fundamental)
    arrivals = jnp.arange(population.investors, dtype=jnp.int32)

    def come(market: Market, arrival: tuple[jax.Array, Moment]) -> tuple[Market, Course]:
        after = step(market, *arrival, today, setting.quotes, population)
        return after, _seen(market, after)

    start = open_market(population, state.accounts, today, state.reference)
    close, course = lax.scan(come, start, (arrivals, setting.moments))
    accounts = close.accounts.carried()
    reference = where(accounts.volume > 0, accounts.average_price, state.reference)
    after = State(fundamental, reference, accounts)
    return after, _figures(state, after, close, people), course


def _seen(before: Market, after: Market) -> Course:
    """What an arrival brought about: its trades are all at one price, the dealer's, an order's or that of a call."""
    then, now = before.accounts, after.accounts
    traded = now.volume - then.volume
    # An arrival that meets several resting orders trades at several prices; the average is rounded down.
    price = now.centre + (now.excess - then.excess) // jnp.maximum(traded, 1)
    return Course(
        inventory=now.stock[:, DEALER],
        cash=now.cash[:, DEALER],
        traded=traded,
        price=where(traded > 0, price, 0),
        dealt=now.dealt - then.dealt,
        anchor=after.anchor,
        waiting=after.auction.size.sum(axis=1, dtype=jnp.int32),
    )


class Setting(NamedTuple):
    """A market's rules and its dealer as arrays, so that one compiled run serves them all."""

    rules: RuleNumbers
    moments: Moment
    quotes: DealerQuotes


def _figures(before: State, after: State, close: Market, people: Crowd) -> DayFigures:
    accounts = after.accounts
    got = accounts.stock - close.opening
    paid = before.accounts.cash - accounts.cash
    gain = product(people.value, got) - paid

    def worth(state: State) -> Wide:
        return state.accounts.cash[:, DEALER] + product(state.fundamental, state.accounts.stock[:, DEALER])

    def people_with(field: jax.Array) -> jax.Array:
        return (field[:, 1:] != 0).sum(axis=1, dtype=jnp.int32)

    return DayFigures(
        fundamental=after.fundamental,
        price=accounts.average_price,
        volume=accounts.volume,
        trades=accounts.trades,
        dealt=accounts.dealt,
        excess=accounts.excess,
        square=accounts.square,
        came=people_with(close.wanted),
        wanted=close.wanted[:, 1:].sum(axis=1, dtype=jnp.int32),
        filled=people_with(got),
        surplus=gain[:, 1:].sum(),
        inventory=accounts.stock[:, DEALER],
        earned=worth(after) - worth(before),
        looks=close.looks,
        refused=close.refused + close.book.refused + close.auction.refused,
        overflowed=close.book.overflowed + close.auction.overflowed,
    )


def run_days(market: jax.Array, key: Key, setting: Setting, population: People, days: int) -> tuple[State, DayFigures]:
    """So many days of every market, `market` their numbers (books,) uint32: the last evening, and daily figures."""

    def on(state: State, day: jax.Array) -> tuple[State, DayFigures]:
        state, figures, _ = trading_day(state, day, market, key, setting, population)
        return state, figures

    return lax.scan(on, begin(population, market.shape[0]), jnp.arange(days, dtype=jnp.int32))
