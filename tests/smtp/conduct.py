"""How servers behave in tests of faults: well, but for what a test makes them do."""

from __future__ import annotations

import ssl

import trustme
from peers import Gone, Peer
from script import delivery

from merge.smtp.session import Session

PIPES = ("PIPELINING",)
SECRET = {"user": "ada", "password": lambda: "secret"}


def good(*extensions: str):
    """A server that takes what it is given, one command or a group at a time, until QUIT."""

    def serve(peer: Peer) -> None:
        peer.hello(*(extensions or PIPES))
        take_all(peer)

    return serve


def take_all(peer: Peer, *, after: int = 10**9, then=None) -> None:
    accepted = 0
    while (line := peer.line()) != "QUIT":
        verb = line[:4]
        if verb == "DATA":
            peer.say("354 go")
            peer.message()
            accepted += 1
            peer.say(f"250 2.0.0 queued {accepted}")
            if accepted == after:
                then(peer)
        else:
            assert verb in {"MAIL", "RCPT", "RSET", "NOOP"}, line
            peer.say("250 ok")
    peer.say("221 bye")


def collect_until_it_stops(session: Session) -> None:
    for _ in range(20):
        session.collect(0)


def letters(count: int):
    return [delivery(row) for row in range(1, count + 1)]


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def under_tls(context: ssl.SSLContext, serve, *, starttls: bool = False):
    def secured(peer: Peer) -> None:
        if starttls:
            peer.hello("STARTTLS", "PIPELINING", "AUTH PLAIN")
            assert peer.line() == "STARTTLS"
            peer.say("220 go ahead")
        try:
            peer.socket = context.wrap_socket(peer.socket, server_side=True)
        except (OSError, ssl.SSLError) as error:
            raise Gone from error
        if starttls:
            peer.greet("PIPELINING", "AUTH PLAIN")
        else:
            peer.hello("PIPELINING", "AUTH PLAIN")
        serve(peer)

    return secured


def logged_in(peer: Peer) -> None:
    assert peer.line() == "AUTH PLAIN AGFkYQBzZWNyZXQ="
    peer.say("235 welcome")
    take_all(peer)
