"""The wall's own two pages: log in, log out. Plain HTML with one script that takes a token out of the address."""

import html
import secrets
from dataclasses import dataclass

from costwhy.serve.responses import Answer, page

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;color-scheme:light dark;max-width:22rem;margin:18vh auto;padding:0 1rem}
input,button{font:inherit;width:100%;box-sizing:border-box;padding:.5em;margin:.2em 0 1em}h1{font-size:1.3rem}p.wrong{color:#c2410c}"""
_TAKE = """var f=document.forms[0],t=location.hash.slice(1);
if(t&&f.elements.secret){history.replaceState(null,"",location.pathname+location.search);f.elements.secret.value=decodeURIComponent(t);f.submit();}"""


@dataclass(frozen=True)
class Form:
    """What the login page asks for."""

    way: str
    next: str = "/"
    wrong: str = ""


def login(status: int, form: Form) -> Answer:
    """The form for a token, or for a name and a password. `/login#TOKEN` logs in by itself: what follows # is sent to no server."""
    name = '<label>Name <input name="name" autocomplete="username" required autofocus></label>' if form.way == "users" else ""
    label, kind = ("Password", "current-password") if form.way == "users" else ("Token", "off")
    wrong = f'<p class="wrong" role="alert">{html.escape(form.wrong)}</p>' if form.wrong else ""
    return _page(
        status,
        f'<h1>costwhy</h1>{wrong}<form method="post" action="/login">{name}'
        f'<label>{label} <input type="password" name="secret" autocomplete="{kind}" required></label>'
        f'<input type="hidden" name="next" value="{html.escape(form.next)}"><button>Log in</button></form>',
        script=_TAKE if form.way == "token" and not form.wrong else "",
    )


def logout(who: str) -> Answer:
    """Who one is, and the button that ends it."""
    return _page(
        200, f'<h1>costwhy</h1><p>You are {html.escape(who)}.</p><form method="post" action="/logout"><button>Log out</button></form>'
    )


def _page(status: int, body: str, script: str = "") -> Answer:
    nonce = secrets.token_urlsafe(16)
    code = f'<script nonce="{nonce}">{script}</script>' if script else ""
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>costwhy</title><style nonce="{nonce}">{_STYLE}</style><body>{body}{code}</body></html>'
    )
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    return page(status, text, policy)
