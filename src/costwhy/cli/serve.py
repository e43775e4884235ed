"""TODO cli/serve.py"""

import argparse
import getpass
import os
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from costwhy.cli.app import shipped
from costwhy.cli.terminal import errors, one_line_of, out
from costwhy.errors import UsageError

if TYPE_CHECKING:
    from costwhy.serve.visitors import Auth


def run_serve(wish: argparse.Namespace) -> None:
    """costwhy serve"""
    from costwhy.serve.server import (
        ServeOptions,
        default_state,
        serve,
    )

    if wish.add_user:
        _add_user(wish)
        return
    state = wish.state or default_state()
    if wish.link or wish.revoke:
        _link(wish, state)
        return
    options = ServeOptions(_auth(wish), wish.host, wish.port, tuple(wish.site), state, log=wish.log)
    serve(wish.published, shipped("notebooks", "_notebooks") / "leadership.py", options)


def _auth(wish: argparse.Namespace) -> "Auth":
    from costwhy.serve.visitors import Auth

    token = ""
    if wish.token_env:
        token = os.environ.get(wish.token_env, "")
        if not token:
            raise UsageError(
                f"the environment variable {wish.token_env} is empty", todo="put the token into it; it never belongs on a command line"
            )
    return Auth(token, wish.users, wish.header, tuple(wish.proxy))


def _link(wish: argparse.Namespace, state: Path) -> None:
    """A link that opens one case, or the end of one."""
    from costwhy.serve.links import (
        REVOKED,
        IdList,
        make_link,
        read_secret,
        revoke,
    )

    key = read_secret(state)
    if wish.revoke:
        folder = state if "://" in wish.published else Path(wish.published)
        out.print(f"revoked: {one_line_of(revoke(key, wish.revoke, IdList(folder / REVOKED)))}")
        return
    if "://" not in wish.published and not (Path(wish.published) / wish.link / "case.json").is_file():
        raise UsageError(f"no case {wish.link!r} is published", found=wish.published, todo="name a folder of the published folder")
    link, text = make_link(key, wish.link, wish.until or datetime.now(UTC) + timedelta(days=14))
    site = wish.site[0].rstrip("/") if wish.site else "SITE"
    out.print(f"{one_line_of(site)}/link/{text}")
    if not wish.site:
        errors.print("SITE stands for the address that viewers type: give it as --site")
    revoking = f"costwhy serve {wish.published} --revoke {link.id}"
    errors.print(f"id {link.id}, until {link.until:%Y-%m-%dT%H:%MZ}; revoke it with `{one_line_of(revoking)}`", soft_wrap=True)


def _add_user(wish: argparse.Namespace) -> None:
    from costwhy.serve.passwords import hash_line

    if not wish.users:
        raise UsageError("--add-user needs the users' file", todo="give it: --users users.txt")
    try:
        warnings.simplefilter("ignore", getpass.GetPassWarning)  # it names lines of Python; the words after it remain
        password = getpass.getpass(f"password of {wish.add_user}: ")
    except EOFError:
        todo = "run it in a terminal, and type the password there"
        raise UsageError("--add-user asks for a password, and nobody answered", found="the end of the input", todo=todo) from None
    line = hash_line(wish.add_user, password)
    with os.fdopen(os.open(wish.users, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as stream:
        stream.write(f"{line}\n")
