"""The command ``bayesgmm``: its sub-commands, and how errors and warnings are told."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from bayesgmm import __version__
from bayesgmm.cli.choosing import select_command
from bayesgmm.cli.console import BAD_INPUT, INTERRUPTED
from bayesgmm.cli.fitting import compare_command, fit, sample
from bayesgmm.cli.many import fit_many_command
from bayesgmm.cli.prior import sensitivity_command
from bayesgmm.cli.reporting import demo, report
from bayesgmm.cli.simulating import simulate
from bayesgmm.cli.testing import effect_tests_command
from bayesgmm.cli.uncertainty import bootstrap_command, standard_errors_command
from bayesgmm.errors import InputError, MissingExtraError

app = typer.Typer(
    name="bayesgmm",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Gaussian mixtures of traits in which genotypes move people between components.\n\n"
    "Start with `bayesgmm demo`. For your own data, copy a model card (TOML), name your trait and variants, and run "
    "`bayesgmm report CARD --traits traits.tsv --genotypes panel.bed --out results`.\n\n"
    "Exit codes: 0 done; 2 input that cannot be used; 3 done, but not converged: do not trust it; 130 interrupted.",
)

# in the order in which --help lists them
_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "fit": fit,
    "sample": sample,
    "compare": compare_command,
    "sensitivity": sensitivity_command,
    "report": report,
    "select": select_command,
    "fit-many": fit_many_command,
    "bootstrap": bootstrap_command,
    "standard-errors": standard_errors_command,
    "test-effect": effect_tests_command,
    "simulate": simulate,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"bayesgmm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Entry point: errors are one line on standard error, warnings likewise."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        app(arguments, standalone_mode=True)
    except SystemExit as left:
        # typer leaves without a word
        if isinstance(getattr(left.__context__, "__cause__", None), KeyboardInterrupt):
            print("interrupted; files already written are whole", file=sys.stderr)
        raise
    except (InputError, MissingExtraError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        print("interrupted; files already written are whole", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
