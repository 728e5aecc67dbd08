"""Case files: TOML that states a problem, a method and a simulation by their public names.

    [problem]                     type and the constructor's arguments; demands and objective are tables of their own
    [method]                      optional: type and settings of a method; by default the one that fits
    [simulation]                  optional: paths, seed, fills ("exact" or "linear"), steps, settlement (T+days)
    [simulation.initial]          optional: where paths start, by the names of the state; zero by default
    [market]                      optional: type and settings of a market in which `simulate` plays the policy as well
    [units]                       optional: what the numbers are counted in, see `check_units`

Every number is a bare number in the problem's own unit, `volatility = 0.45` per sqrt(year) for a `StockCashDealer`; a
text such as "45%" is refused. Where there are several things to quote, a number may be a list (`Stated.listed` says
which) and a part may be one table for each, `[[problem.bid_demand]]`. An error names the file and the key's full name,
and says how to mend it.
"""

from __future__ import annotations

import inspect
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from . import _toml
from ._errors import UserError, about_file, suggestion

FILLS = ("exact", "linear")


@dataclass(frozen=True)
class Simulating:
    """Settings of a simulation."""

    paths: int = 100_000
    seed: int = 0
    fills: str = "exact"
    steps: int | None = None  # of the linear rule, over the horizon
    initial: dict[str, Any] = field(default_factory=dict)  # numbers, or lists of them where there are several
    settlement: int = 0  # days until the proceeds of a sale can be spent, beside which T+0 is simulated

    def to_data(self) -> dict[str, Any]:
        """The settings as plain data; what is empty, and a settlement at once, is left out."""
        told = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) not in (None, {})}
        return {name: value for name, value in told.items() if name != "settlement" or value}


@dataclass(frozen=True)
class Case:
    """A case as read: what the file states, built and checked."""

    name: str
    problem: Any
    method: Any = None
    simulation: Simulating = field(default_factory=Simulating)
    market: Any = None
    units: dict[str, Any] = field(default_factory=dict)

    def to_toml(self, header: str = "") -> str:
        """The case written out in full: reading it gives the same case again."""
        from .hjb.solution import method_to_data
        from .models.case import to_data

        data: dict[str, Any] = {"problem": to_data(self.problem)}
        if self.method is not None:
            data["method"] = method_to_data(self.method)
        data["simulation"] = self.simulation.to_data()
        if self.market is not None:
            data["market"] = self.market.to_data()
        data["units"] = self.units
        comment = "".join(f"# {line}\n" for line in header.splitlines())
        return (f"{comment}\n" if comment else "") + _toml.dumps({key: table for key, table in data.items() if table})


def read_case(path: Path) -> Case:
    """Read and check a case file, or the `case.toml` of a run's folder; raises `UserError` naming file and key."""
    path = path / "case.toml" if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such case file; give the path of a TOML file") from None
    except OSError as error:
        raise UserError(about_file(error, str(path)) + "; give a TOML file that can be read") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: this is no text; give a TOML file") from None
    try:
        return parse_case(text, path.parent.name if path.stem == "case" and path.parent.name else path.stem)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def read_single(path: Path, command: str) -> Case:
    """As `read_case`, for a `command` that takes dealers with one thing to quote only."""
    case = read_case(path)
    if not _is_single(case.problem):
        raise UserError(
            f"{path}: problem.type {type(case.problem).__name__} has several things to quote, and {command} takes one; "
            "use solve or simulate"
        )
    return case


def _is_single(problem: Any) -> bool:
    from .models.printed import PrintedDealer
    from .models.problem import Problem

    return isinstance(problem, Problem | PrintedDealer)


def parse_case(text: str, name: str = "case") -> Case:
    """A case from TOML text; raises `ValueError` naming the key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        mend = "a bare number needs no unit, a text stands in double quotes"
        raise ValueError(f"this is not TOML: {str(error)[:1].lower()}{str(error)[1:]}; {mend}") from None
    for key in data:
        _check_known(key, ("problem", "method", "simulation", "market", "units"), "", "a case")
        if not isinstance(data[key], Mapping):
            raise ValueError(f"{key} must be a table, got {_shown(data[key])}; write [{key}] and its keys below")
    if "problem" not in data:
        raise ValueError("problem is missing; state it under [problem], beginning with its type")
    problem = _problem(data["problem"])
    method = _method(data["method"]) if "method" in data else None
    _check_kept(problem, method)
    return Case(
        name=name,
        problem=problem,
        method=method,
        simulation=check_simulation(data.get("simulation", {}), problem),
        market=check_market(data["market"]) if "market" in data else None,
        units=check_units(data.get("units", {}), problem),
    )


def _problem(data: Mapping[str, Any]) -> Any:
    from .models.problem import Dealer

    return _stated(data, "problem", Dealer)


def _parts() -> dict[str, type]:
    """What the arguments that are stated by a table of their own must be."""
    from .models.constraints import ForcedReduction, Margin, Overnight
    from .models.currency import CurrencyDealer, Hedging
    from .models.demand import Demand
    from .models.heston import Heston
    from .models.objectives import Objective

    parts: dict[str, type] = {"bid_demand": Demand, "ask_demand": Demand, "objective": Objective}
    parts |= {"margin": Margin, "forced_reduction": ForcedReduction, "overnight": Overnight}
    return parts | {"pairs": CurrencyDealer, "hedging": Hedging, "physical": Heston, "pricing": Heston}


def _stated(data: Any, where: str, base: type, all_listed: bool = False) -> Any:
    """The problem, demand or objective that a table states; parts are built first, so that errors know their place.

    all_listed: every number may be a list; else those that the kind itself names.
    """
    from .models.case import KINDS, from_data

    parts = _parts()
    kinds = {name: kind for name, kind in KINDS.items() if issubclass(kind, base)}
    kind = kinds[_type_of(data, where, list(kinds))]
    parameters = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {"type": data["type"]}
    for key, value in data.items():
        if key == "type":
            continue
        _check_known(key, tuple(parameters), f"{where}.", kind.__name__)
        place = f"{where}.{key}"
        listed = all_listed or key in kind.listed
        if key in parts and isinstance(value, list):
            arguments[key] = [_stated(one, f"{place}[{i}]", parts[key], listed) for i, one in enumerate(value)]
        elif key in parts:
            arguments[key] = _stated(value, place, parts[key], listed)
        elif isinstance(parameters[key].default, str):
            if not isinstance(value, str):
                raise ValueError(f"{place} must be a word in quotes, got {_shown(value)}")
            arguments[key] = value
        else:
            arguments[key] = _numbers(value, place) if listed else _number(value, place)
    try:
        return from_data(arguments, where)
    except ValueError as error:
        raise ValueError(_placed(str(error), where, parameters)) from None


def _placed(message: str, where: str, parameters: Mapping[str, Any]) -> str:
    """`Exponential: decay must be ...` as `problem.bid_demand.decay must be ...`."""
    said = re.match(r"(?:\w+: )?(\w+: )?(\w+)((?:\[\d+\])?[ =].*)", message.removeprefix(f"{where}: "), re.DOTALL)
    if said and said[2] in parameters:
        return f"{where}.{said[2]}{said[3]}"
    return message if message.startswith(where) else f"{where}: {message}"


def _method(data: Mapping[str, Any]) -> Any:
    from .hjb.solve import METHODS, method_from_data

    kind = METHODS[_type_of(data, "method", list(METHODS))]
    types = {f.name: str(f.type) for f in fields(kind)}
    for key, value in data.items():
        if key == "type":
            continue
        _check_known(key, tuple(types), "method.", kind.__name__)
        if "bool" in types[key]:
            if not isinstance(value, bool):
                raise ValueError(f"method.{key} must be true or false, got {_shown(value)}")
        elif "str" in types[key]:
            if not isinstance(value, str):
                raise ValueError(f"method.{key} must be a text in quotes, got {_shown(value)}")
        elif isinstance(value, list):  # such as cash_range
            _numbers(value, f"method.{key}")
        else:
            _number(value, f"method.{key}")
    try:
        return method_from_data(data)
    except ValueError as error:
        raise ValueError(_placed(str(error), "method", types)) from None


def _check_kept(problem: Any, method: Any) -> None:
    """Refuse a solution that no file of a run would hold."""
    from .models.currency import CurrencyDealer
    from .models.currency_book import CurrencyBook

    if hasattr(method, "trained") and isinstance(problem, CurrencyDealer | CurrencyBook):
        raise ValueError(
            f"method.type {type(method).__name__} trains a network for a {type(problem).__name__}, which no run can "
            "keep; take ClosedForm, or solve it from Python"
        )


def check_market(data: Mapping[str, Any], prefix: str = "market.") -> Any:
    """A market from plain data; raises `ValueError` naming the key after `prefix`."""
    from .validation.markets.kinds import MARKETS, market_from_data, settings_of

    kind = _type_of(data, prefix.rstrip("."), list(MARKETS))
    for key, value in data.items():
        if key != "type":
            _check_known(key, settings_of(kind), prefix, kind)
            _number(value, f"{prefix}{key}")
    try:
        return market_from_data(data)
    except ValueError as error:
        raise ValueError(prefix + str(error).removeprefix(f"{kind}: ")) from None


def market_asked_for(text: str, stated: Any) -> Any:
    """The market that `--market` names, given the one that the file states, or None where it says none.

    A name keeps those of the file's settings that its market knows, `key=value,key=value` go before them and may
    follow a name; `none` leaves the market out.
    """
    from .validation.markets.kinds import MARKETS, settings_of

    if text == "none":
        return None
    data: dict[str, Any] = {"type": next(iter(MARKETS))} if stated is None else stated.to_data()
    name, *rest = text.split(",")
    if "=" in name:
        rest = [name, *rest]
    elif name not in MARKETS:
        known = (*MARKETS, "none")
        raise ValueError(
            f"--market {name!r} is not known; name one of {', '.join(known)}, or give settings such as tick=0.01"
            + suggestion(name, known)
        )
    else:
        known = settings_of(name)
        data = {"type": name, **{key: value for key, value in data.items() if key in known}}
    for part in rest:
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            data[key] = float(value)
        except ValueError:
            raise ValueError(f"--market {key} must be a number, got {value!r}; write {key}=1, say") from None
    return check_market(data, "--market ")


def check_simulation(data: Mapping[str, Any], problem: Any, prefix: str = "simulation.") -> Simulating:
    """Settings from plain data; raises `ValueError` naming the key after `prefix`."""
    known = tuple(f.name for f in fields(Simulating))
    for key in data:
        _check_known(key, known, prefix, "a simulation")
    for key, least in (("paths", 2), ("seed", 0), ("steps", 1), ("settlement", 0)):
        value = data.get(key, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{prefix}{key} must be a whole number of at least {least}, got {_shown(value)}")
    fills = data.get("fills", "exact")
    if fills not in FILLS:
        raise ValueError(f"{prefix}fills must be {' or '.join(map(repr, FILLS))}, got {_shown(fills)}")
    if fills == "linear" and not _is_single(problem):
        raise ValueError(f"{prefix}fills 'linear' is for a dealer with one thing to quote; leave fills out")
    if fills == "linear" and "steps" not in data:
        raise ValueError(f"{prefix}steps is missing; the linear rule needs the number of time steps, such as 200")
    if fills == "linear" and data.get("settlement"):
        raise ValueError(f"{prefix}settlement is for exact fills; leave fills out")
    initial = data.get("initial", {})
    if not isinstance(initial, Mapping):
        raise ValueError(f"{prefix}initial must be a table, got {_shown(initial)}; write [simulation.initial]")
    for key, value in initial.items():
        _check_known(key, problem.names, f"{prefix}initial.", type(problem).__name__)
        place = f"{prefix}initial.{key}"
        given = _numbers(value, place) if key in problem.listed else _number(value, place)
        if not all(map(math.isfinite, given if isinstance(given, list) else [given])):
            raise ValueError(f"{place} must be finite, got {value}")
    return Simulating(**{**data, "initial": dict(initial)})


def check_units(data: Mapping[str, Any], problem: Any) -> dict[str, Any]:
    """The units a case states, checked against the problem's own; raises `ValueError` where they do not match.

    time, distance:    must be the problem's own where it has one: "years" and "relative" for `StockCashDealer`. An
                       `InventoryDealer` counts in whatever it is given; the names then label the report.
    money:             any name, such as "dollars", but for a currency dealer, whose own is "bp M".
    seconds_per_year:  of trading, where time is in years: lets the report show minutes or hours.
    reference_price:   in money, where distances are relative: lets the report show distances in money as well.
    """
    own = {key: problem.units[key] for key in ("time", "distance", "money")}
    # "time" and "money" stand for: whatever the caller counts in
    fixed = {"time": own["time"] != "time", "distance": True, "money": own["money"] != "money"}
    for key, value in data.items():
        _check_known(key, ("time", "money", "distance", "seconds_per_year", "reference_price"), "units.", "a case")
        if key in ("seconds_per_year", "reference_price"):
            needed = {"seconds_per_year": ("time", "years"), "reference_price": ("distance", "relative")}[key]
            if own[needed[0]] != needed[1]:
                raise ValueError(f"units.{key} is for problems with {needed[0]} in {needed[1]}; leave it out")
            if not 0 < _number(value, f"units.{key}") < math.inf:
                raise ValueError(f"units.{key} must be positive and finite, got {value}")
        elif not isinstance(value, str) or not value.strip():
            raise ValueError(f"units.{key} must be the name of a unit in quotes, got {_shown(value)}")
        elif fixed.get(key) and value != own[key]:
            raise ValueError(
                f"units.{key} is {value!r}, but {type(problem).__name__} has {key} in {own[key]!r}; "
                f'convert the numbers and write {key} = "{own[key]}"'
            )
    return dict(data)


def _type_of(data: Any, where: str, names: list[str]) -> str:
    if not isinstance(data, Mapping):
        raise ValueError(
            f"{where} must be a table with a type, got {_shown(data)}; write [{where}] and type = {names[0]!r} below"
        )
    if "type" not in data:
        raise ValueError(f"{where}.type is missing; name one of {', '.join(names)}")
    if data["type"] not in names:
        raise ValueError(
            f"{where}.type {_shown(data['type'])} is not known; name one of {', '.join(names)}"
            + suggestion(data["type"], names)
        )
    return data["type"]


def _check_known(key: str, known: tuple[str, ...], prefix: str, taker: str) -> None:
    if key not in known:
        hint = suggestion(key, known) or ": correct or remove the key"
        raise ValueError(f"{prefix}{key} is not known; {taker} takes {', '.join(known)}{hint}")


def _number(value: Any, where: str, instead: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        bare = "write a bare number, without quotes or unit"
        mend = instead or (bare if isinstance(value, str) else "write a single number")
        raise ValueError(f"{where} must be a number, got {_shown(value)}; {mend}")
    return value


def _numbers(value: Any, where: str) -> Any:
    """A number, a list of them, or a list of lists of one length."""
    if not isinstance(value, list):
        return _number(value, where, "write a bare number or a list such as [0.01, 0.02, 0.05]")
    found = [_numbers(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if len({len(item) if isinstance(item, list) else 0 for item in found}) > 1:
        raise ValueError(f"{where} must have rows of one length; write [[1.0, 0.5], [0.5, 1.0]]")
    return found


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    return f"a list of {len(value)}" if isinstance(value, list) else str(value)
