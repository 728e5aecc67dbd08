"""The command line. JAX and what needs it are imported by the command that uses them, not here.

Exit code 0 where all went well, 2 where the user can mend something, which one line on standard error names, 130 where
the run was interrupted. A run that does not end well leaves nothing behind.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from ._compiled import keep_what_is_compiled

app = typer.Typer(
    help="Optimal two-sided quotes for a dealer who is hit at random.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every run writes one folder: report.html, summary.json, and the files that their numbers come from.",
)

INTERRUPTED, TERMINATED = STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)

CaseFile = Annotated[Path, typer.Argument(metavar="CASE.toml", help="A case file, or the folder of a run.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder; by default one of its name in runs/.")]
Paths = Annotated[int | None, typer.Option(min=2, help="How many paths to simulate.")]
Seed = Annotated[int | None, typer.Option(min=0, help="The seed that the paths depend on.")]


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"twosided {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def twosided(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Optimal two-sided quotes for a dealer who is hit at random."""


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Market messages, LOBSTER or Binance; by default the sample.")
    ] = None,
    out: Out = None,
    paths: Paths = None,
    seed: Seed = None,
) -> None:
    """Calibrate a dealer from market messages, solve, simulate, and report: the main job, end to end."""
    from . import _commands

    _commands.demo(data, out, paths, seed)


@app.command()
def solve(case: CaseFile, out: Out = None) -> None:
    """Solve the problem that a case file states."""
    from . import _commands

    _commands.solve(case, out)


@app.command()
def simulate(
    case: CaseFile,
    out: Out = None,
    paths: Paths = None,
    seed: Seed = None,
    fills: Annotated[str | None, typer.Option(help="'exact', or 'linear' in steps.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Time steps of the linear rule.")] = None,
    market: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A market to play in as well, such as HawkesMarket or tick=1,refresh=2."),
    ] = None,
    settlement: Annotated[
        int | None, typer.Option(min=0, metavar="DAYS", help="Say what settling sales in T+1 ... T+DAYS loses.")
    ] = None,
) -> None:
    """Solve the problem that a case file states, and check the answer by simulation; options go before the file's."""
    from . import _commands

    given = {"paths": paths, "seed": seed, "fills": fills, "steps": steps, "settlement": settlement}
    _commands.simulate(case, out, {key: value for key, value in given.items() if value is not None}, market)


@app.command()
def regret(
    case: CaseFile,
    wrong: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ERRORS", help="Factors of the truth, such as volatility=2 or decay=0.5,flow=2; repeatable."
        ),
    ] = None,
    out: Out = None,
    paths: Paths = None,
    seed: Seed = None,
    market: Annotated[
        str | None, typer.Option(metavar="NAME", help="The market to play in, as for simulate; by default the file's.")
    ] = None,
) -> None:
    """Say what it costs to compute quotes with a wrong risk aversion, volatility, decay or flow."""
    from . import _regret

    given = {"paths": paths, "seed": seed}
    _regret.regret(case, out, {key: value for key, value in given.items() if value is not None}, wrong or (), market)


@app.command()
def calibrate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Market messages, LOBSTER or Binance; for a risk aversion a CSV of quotes or trades, or a case file.",
        ),
    ],
    definition: Annotated[
        str, typer.Option(help="What counts as a fill: 'reach', or 'virtual10' (any number of seconds).")
    ] = "virtual10",
    session: Annotated[
        str | None, typer.Option(metavar="OPEN-CLOSE", help="Such as 10:00-15:30; by default the file's own.")
    ] = None,
    risk_aversion: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="Calibrate the risk aversion: 'implied' by quotes (CSV: time,inventory,bid,ask), by trades with "
            "'moments' or 'likelihood' (CSV: session,time,fill), or for a 'budget'.",
        ),
    ] = None,
    case: Annotated[
        Path | None, typer.Option(metavar="CASE.toml", help="The dealer by whom quotes or trades are explained.")
    ] = None,
    target_deviation: Annotated[
        float | None, typer.Option(metavar="MONEY", help="Budget: standard deviation of wealth at the horizon.")
    ] = None,
    loss_probability: Annotated[
        float | None, typer.Option(metavar="P", help="Budget: probability of ending more than --loss down.")
    ] = None,
    loss: Annotated[float | None, typer.Option(metavar="MONEY", help="For --loss-probability; 0 by default.")] = None,
    limit_probability: Annotated[
        float | None, typer.Option(metavar="P", help="Budget: probability of hitting the inventory limit.")
    ] = None,
    also: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Numbers to estimate as well: volatility,demand.scale, say.")
    ] = None,
    errors: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=ERROR", help="Standard error of a number the case states; repeatable."),
    ] = None,
    out: Out = None,
) -> None:
    """Measure volatility and demand from market messages and state the dealer's case; or find its risk aversion."""
    if risk_aversion is not None:
        from . import _calibrate_risk

        targets = {
            "deviation": target_deviation,
            "loss_probability": loss_probability,
            "loss": loss,
            "limit_probability": limit_probability,
        }
        stated = {name: value for name, value in targets.items() if value is not None}
        return _calibrate_risk.calibrate_risk(risk_aversion, file, case, out, stated, also, errors or ())
    from . import _commands

    _commands.calibrate(file, definition, session, out)


@app.command()
def study(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Market messages, or a CSV of a panel; by default a synthetic panel."),
    ] = None,
    interval: Annotated[float | None, typer.Option(metavar="SECONDS", help="Of messages; 300 by default.")] = None,
    session: Annotated[str | None, typer.Option(metavar="OPEN-CLOSE", help="Of messages, such as 10:00-15:30.")] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="CASE.toml", help="The dealer whose quotes a panel's are held against.")
    ] = None,
    stocks: Annotated[int | None, typer.Option(min=2, help="Of the synthetic panel.")] = None,
    days: Annotated[int | None, typer.Option(help="Of the synthetic panel; at least 16.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the synthetic panel.")] = None,
    out: Out = None,
) -> None:
    """Clean observed quotes, explain their spread, and hold the model's quotes against them."""
    from . import _study

    given = {
        "interval": interval,
        "session": session,
        "model": model,
        "stocks": stocks,
        "days": days,
        "seed": seed,
    }
    _study.study(file, out, {key: value for key, value in given.items() if value is not None})


@app.command()
def frontier(
    case: CaseFile,
    points: Annotated[
        int | None, typer.Option(min=1, help="How many risk aversions, evenly in their logarithm; 64 by default.")
    ] = None,
    low: Annotated[float | None, typer.Option("--from", help="The least; by default 1/32 of the case's own.")] = None,
    high: Annotated[float | None, typer.Option("--to", help="The greatest; by default twice the case's own.")] = None,
    readings: Annotated[
        list[str] | None,
        typer.Option(help="Of equilibrium, quadratic_variation, static, pre_commitment; repeatable, by default all."),
    ] = None,
    out: Out = None,
    paths: Annotated[int | None, typer.Option(min=0, help="Simulated per point; 0 for none.")] = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Local processes; by default threads of this one.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers compute, tcp://HOST:PORT.")
    ] = None,
) -> None:
    """Expected wealth against its standard deviation over a range of risk aversions: which one to take."""
    from . import _frontier

    given = {"paths": paths, "seed": seed, "workers": workers, "scheduler": scheduler}
    given = {key: value for key, value in given.items() if value is not None}
    _frontier.frontier(case, out, points, low, high, readings or (), given)


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]) -> None:
    """Write a run's report.html anew from what is in its folder."""
    from . import _commands

    _commands.report(run)


def main() -> None:
    """Run the command line and exit; the console script `twosided`."""
    keep_what_is_compiled()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without √ is no reason to fail
    signal.signal(signal.SIGTERM, _terminated)
    code = run()
    if code in STOPPED:  # XLA may still be computing, and the interpreter would tear it down underneath
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    kept = ["nothing was written"]  # unless a command that was interrupted notes otherwise
    try:
        code = app(args=arguments, prog_name="twosided", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as stop:
        code, kept = int(stop.code or 0), getattr(stop, "__notes__", kept)
    except BrokenPipeError:  # whoever read our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except MemoryError:
        return _complain("error: out of memory; take fewer paths, steps or nodes")
    except (ValueError, OSError, typer.TyperException) as error:
        return _complain(f"error: {_said(error)}")
    return _complain(f"interrupted; {'; '.join(kept)}", code) if code in STOPPED else code


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(TERMINATED)  # so that what is half-written is cleared away


def _said(error: Exception) -> str:
    from ._errors import about_file, one_line

    if isinstance(error, typer.TyperException):
        usage = getattr(error, "format_message", lambda: one_line(error))()
        return f"{one_line(ValueError(usage)).rstrip('.')}; see twosided --help"
    if isinstance(error, OSError):
        return about_file(error, str(error.filename or "the operating system refused"))
    return one_line(error)


def _complain(line: str, code: int = 2) -> int:
    typer.echo(f"twosided: {line}", err=True)
    return code


if __name__ == "__main__":
    main()
