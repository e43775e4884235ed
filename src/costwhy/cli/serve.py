"""`costwhy serve`: the read-only app, its users, and links to single cases."""

import getpass
import os
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from costwhy.cli.app import shipped
from costwhy.cli.parameters import port_option, time
from costwhy.cli.terminal import errors, one_line_of, out
from costwhy.errors import UsageError

_LINK_DAYS = 14


@click.command()
@click.argument(
    "published",
    default="published",
    metavar="[PUBLISHED]",
    help="The published folder (default: published), or s3://.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="HOST",
    help="Address to listen on (default: this machine only).",
)
@port_option
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="URL",
    help="Address that viewers type, such as https://costs.example.com.",
)
@click.option(
    "--token-env", metavar="NAME", help="Environment variable with one secret for all viewers."
)
@click.option(
    "--users", type=Path, metavar="FILE", help="Users and their scrypt hashes, see --add-user."
)
@click.option(
    "--header",
    default="",
    metavar="NAME",
    help="Request header in which a proxy names the viewer.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a trusted proxy.",
)
@click.option(
    "--state",
    type=Path,
    metavar="FOLDER",
    help="Folder of the secret key, outside the published folder.",
)
@click.option("--log", type=Path, metavar="FILE", help="Access log (default: standard error).")
@click.option("--link", metavar="CASE", help="Print a link that opens this case alone, and end.")
@click.option(
    "--until", type=time, metavar="TIME", help=f"End of that link (default: in {_LINK_DAYS} days)."
)
@click.option("--revoke", metavar="LINK", help="Revoke a link, and end.")
@click.option(
    "--add-user", metavar="NAME", help="Ask for a password, add NAME to --users, and end."
)
def serve(
    *,
    published: str,
    host: str,
    port: int,
    sites: tuple[str, ...],
    token_env: str | None,
    users: Path | None,
    header: str,
    proxies: tuple[str, ...],
    state: Path | None,
    log: Path | None,
    link: str | None,
    until: datetime | None,
    revoke: str | None,
    add_user: str | None,
) -> None:
    """Serve published cases, read-only."""
    from costwhy.serve.auth import Auth
    from costwhy.serve.server import ServeOptions, default_state, serve

    state = state or default_state()
    if add_user:
        _add_user(add_user, users)
    elif revoke:
        _revoke(revoke, published, state)
    elif link:
        _print_link(link, until, published, state, sites)
    else:
        auth = Auth(_token(token_env), users, header, proxies)
        options = ServeOptions(auth, host, port, sites, state, log=log)
        serve(published, shipped("notebooks", "_notebooks") / "leadership.py", options)


def _token(variable: str | None) -> str:
    """The token in an environment variable; empty where none is named."""
    token = os.environ.get(variable, "") if variable else ""
    if variable and not token:
        raise UsageError(
            f"the environment variable {variable} is empty",
            fix="put the token into it; it never belongs on a command line",
        )
    return token


def _revoke(link: str, published: str, state: Path) -> None:
    from costwhy.serve.links import REVOKED, revoke
    from costwhy.serve.state import IdList, read_secret

    folder = state if "://" in published else Path(published)
    revoked = revoke(read_secret(state), link, IdList(folder / REVOKED))
    out.print(f"revoked: {one_line_of(revoked)}")


def _print_link(
    case: str, until: datetime | None, published: str, state: Path, sites: tuple[str, ...]
) -> None:
    """Print a new link to one case."""
    from costwhy.serve.links import make_link
    from costwhy.serve.state import read_secret

    if "://" not in published and not (Path(published) / case / "case.json").is_file():
        raise UsageError(
            f"no case {case!r} is published",
            found=published,
            fix="name a folder of the published folder",
        )
    end = until or datetime.now(UTC) + timedelta(days=_LINK_DAYS)
    link, text = make_link(read_secret(state), case, end)
    out.print(f"{one_line_of(sites[0].rstrip('/') if sites else 'SITE')}/link/{text}")
    if not sites:
        errors.print("SITE stands for the address that viewers type: give it as --site")
    revoking = one_line_of(f"costwhy serve {published} --revoke {link.id}")
    errors.print(
        f"id {link.id}, until {link.until:%Y-%m-%dT%H:%MZ}; revoke it with `{revoking}`",
        soft_wrap=True,
    )


def _add_user(name: str, users: Path | None) -> None:
    """Ask for a password, and append the user to the file."""
    from costwhy.serve.passwords import hash_line

    if not users:
        raise UsageError("--add-user needs the users' file", fix="give it: --users users.txt")
    try:
        warnings.simplefilter("ignore", getpass.GetPassWarning)  # it shows lines of Python
        password = getpass.getpass(f"password of {name}: ")
    except EOFError:
        raise UsageError(
            "--add-user asks for a password, and nobody answered",
            found="the end of the input",
            fix="run it in a terminal, and type the password there",
        ) from None
    line = hash_line(name, password)
    descriptor = os.open(users, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a") as stream:
        stream.write(f"{line}\n")
