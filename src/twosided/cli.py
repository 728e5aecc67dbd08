"""The command line. JAX and what needs it are imported by the command that uses them, not here."""

import typer

from . import __version__

app = typer.Typer(
    help="Optimal two-sided quotes for a dealer who is hit at random.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twosided {__version__}")
        raise typer.Exit


@app.callback()
def twosided(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print it."
    ),
) -> None:
    """Optimal two-sided quotes for a dealer who is hit at random."""


def main() -> None:
    """Run the command line; the console script `twosided`."""
    app()
