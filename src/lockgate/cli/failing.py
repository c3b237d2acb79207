"""How commands end: exit codes, and no traceback for anybody who did not ask for one."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from lockgate.base.errors import (
    BadSettings,
    Forbidden,
    Invalid,
    LockgateError,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from lockgate.cli.console import complain

#: What each exit code means; the help of the program shows it.
EXIT_CODES = {
    0: "done",
    1: "refused, or it failed",
    2: "used wrongly, or the input is not valid",
    3: "not signed in, or not allowed",
    4: "the platform cannot be reached, or is too busy",
    130: "interrupted",
}
_OF_ERROR: tuple[tuple[type[LockgateError], int], ...] = (
    (Invalid, 2),
    (TooLarge, 2),
    (BadSettings, 2),
    (Unauthenticated, 3),
    (Forbidden, 3),
    (Unavailable, 4),
    (Overloaded, 4),
)


class Commands(TyperGroup):
    """A group whose commands fail in words."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LockgateError as error:
            complain(error)
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error
        except BrokenPipeError as error:
            # Whoever read our output has enough of it. Nothing more can be said there, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:
            if ctx.params.get("traceback"):
                raise
            complain(
                LockgateError(
                    f"something went wrong inside lockgate: {type(error).__name__}: {error}",
                    hint="`lockgate --traceback …` shows where; please report it",
                )
            )
            raise typer.Exit(1) from error


def exit_code(error: LockgateError) -> int:
    """The exit code that tells this error from others."""
    return next((code for kind, code in _OF_ERROR if isinstance(error, kind)), 1)
