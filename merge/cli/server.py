"""The way out: account, server, login and sender."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from merge.cli.options import AsJson, NoColor, NoInput, Paths, Quiet
from merge.cli.screen import screen


def doctor(
    paths: Paths = None,
    account: Annotated[
        str, typer.Option("--account", metavar="NAME", help="This account, not the campaign's.")
    ] = "",
    login: Annotated[
        bool, typer.Option("--login", help="Sign in anew: type the password again, or OAuth in the browser.")
    ] = False,
    resolver: Annotated[
        str, typer.Option("--resolver", metavar="ADDRESS", help="Ask this name server about the sender.")
    ] = "",
    selector: Annotated[
        list[str] | None, typer.Option("--selector", metavar="NAME", help="A DKIM selector of the sender.")
    ] = None,
    no_dns: Annotated[bool, typer.Option("--no-dns", help="Ask no name server about the sender.")] = False,
    as_json: AsJson = False,
    no_input: NoInput = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Try account, server, login and sender; send nothing."""
    import webbrowser  # noqa: PLC0415 - keeps --help quick

    from merge.doctor import diagnosis  # noqa: PLC0415 - likewise
    from merge.doctor.dns import Resolver  # noqa: PLC0415 - likewise
    from merge.doctor.examination import Person, Wish, visit  # noqa: PLC0415 - likewise

    with screen(quiet=quiet, no_color=no_color, paths=paths) as console:

        def show(address: str, code: str) -> None:
            console.insist(diagnosis.invitation(address, code))
            if not code:
                webbrowser.open(address)

        dns = None if no_dns else Resolver(resolver)
        wish = Wish(dns, tuple(selector or ()), login)
        asks = console.can_ask and not no_input
        person = Person(
            ask=console.secret if asks else None,
            agree=console.agrees if asks else None,
            tell=lambda words: console.talk([words]),
            show=show,
        )
        found = visit(paths or (), account, console.clock, wish=wish, person=person)
        if as_json:
            console.data(json.dumps(diagnosis.as_json(found), ensure_ascii=False, indent=2))
        else:
            console.data("\n".join(diagnosis.lines(found)))
        raise typer.Exit(found.exit_code)
