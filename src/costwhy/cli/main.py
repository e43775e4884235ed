"""The command line: run one command, show its errors, return its exit code.

`--json` prints one JSON document on standard output and nothing else there. Progress, messages and
errors go to standard error. Control and escape characters are removed from external text.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from costwhy.cli.cases import explain, postmortem, publish, spikes, verify
from costwhy.cli.ingest import ingest
from costwhy.cli.serve import app, demo, serve
from costwhy.cli.terminal import WORKSPACE, complain
from costwhy.cli.workspace import plan, say, watch
from costwhy.errors import CostwhyError, InputError, UsageError


class _InOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)


@click.group(
    cls=_InOrder,
    commands=(
        *(demo, ingest, spikes, explain, app),
        *(publish, postmortem, verify, serve),
        *(watch, say, plan),
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="costwhy", message="costwhy %(version)s")
def costwhy() -> None:
    """Explain why the cloud bill moved.

    Which behaviour, which change, whose decision, and is it still running?
    """


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 2 command line, 3 input or configuration, 4 unreachable, 5 difference, 130 interrupted.
    """
    meta: dict[str, Any] = {}
    try:
        with costwhy.make_context("costwhy", list(sys.argv[1:] if words is None else words)) as run:
            meta = run.meta
            costwhy.invoke(run)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "costwhy"
        return complain(UsageError(error.format_message(), fix=f"see `{command} --help`"))
    except CostwhyError as error:
        return complain(error, meta.get(WORKSPACE))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `costwhy spikes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return complain(
            InputError(
                "a file could not be read or written",
                found=str(error),
                fix="fix it, then run again",
            )
        )
    return 0
