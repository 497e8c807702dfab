"""What does the DNS say? The only room with dnspython, which opens its own sockets."""

from __future__ import annotations

import ipaddress
from typing import Any, Protocol

from merge.errors import MergeError, UsageError

SECONDS = 4.0
"""How long one question may take in all."""


class NoAnswer(MergeError):  # noqa: N818 - says what happened
    """No name server gave an answer: nothing is known, which is not the same as that there is nothing."""


class Dns(Protocol):
    """What can be asked. Names are without a final dot; every method raises NoAnswer."""

    def exists(self, name: str) -> bool:
        """Whether there is such a name, with whatever records."""

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT records, the strings of each joined (RFC 7208, 3.3)."""

    def exchangers(self, name: str) -> tuple[str, ...]:
        """Return the hosts of the MX records, the preferred first; "" is the null MX (RFC 7505)."""

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the IPv4 and IPv6 addresses."""

    def names(self, address: str) -> tuple[str, ...]:
        """Return the names that an address points to."""


class Resolver:
    """Asks the name servers of this computer, or `server`: an address, ADDRESS:PORT or [IPv6]:PORT.

    Answers are kept: no question is asked twice. Raises UsageError when `server` is none.
    """

    def __init__(self, server: str = "", *, seconds: float = SECONDS) -> None:
        self._server = _address(server) if server else None
        self._seconds = seconds
        self._resolver: Any = None
        self._known: dict[tuple[str, str], tuple[Any, ...] | None] = {}

    def exists(self, name: str) -> bool:
        """Whether there is such a name, with whatever records."""
        return self._ask(name, "SOA") is not None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the TXT records, the strings of each joined."""
        return tuple(
            b"".join(record.strings).decode("utf-8", "replace") for record in self._ask(name, "TXT") or ()
        )

    def exchangers(self, name: str) -> tuple[str, ...]:
        """Return the hosts of the MX records, the preferred first."""
        records = sorted(self._ask(name, "MX") or (), key=lambda record: int(record.preference))
        return tuple(str(record.exchange).rstrip(".") for record in records)

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the IPv4 and IPv6 addresses."""
        return tuple(str(record.address) for kind in ("A", "AAAA") for record in self._ask(name, kind) or ())

    def names(self, address: str) -> tuple[str, ...]:
        """Return the names that an address points to."""
        pointer = ipaddress.ip_address(address).reverse_pointer
        return tuple(str(record.target).rstrip(".") for record in self._ask(pointer, "PTR") or ())

    def _ask(self, name: str, kind: str) -> tuple[Any, ...] | None:
        """Return the records; none of that kind is (), no such name is None."""
        import dns.exception  # noqa: PLC0415 - only the doctor asks
        import dns.name  # noqa: PLC0415 - likewise
        import dns.resolver  # noqa: PLC0415 - likewise

        key = (name.lower().rstrip("."), kind)
        if key in self._known:
            return self._known[key]
        try:
            answer: tuple[Any, ...] | None = tuple(self._start().resolve(key[0] + ".", kind, search=False))
        except dns.resolver.NoAnswer:
            answer = ()
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN, dns.name.LabelTooLong, dns.name.EmptyLabel):
            answer = None
        except dns.resolver.NoNameservers:
            raise NoAnswer(f"the name servers refuse to answer for {name}") from None
        except (dns.exception.DNSException, OSError) as error:
            raise NoAnswer(f"no name server answers ({type(error).__name__})") from None
        self._known[key] = answer
        return answer

    def _start(self) -> Any:  # noqa: ANN401 - dnspython is imported late
        import dns.resolver  # noqa: PLC0415 - only the doctor asks

        if self._resolver is None:
            self._resolver = dns.resolver.Resolver(configure=self._server is None)
            if self._server is not None:
                address, self._resolver.port = self._server
                self._resolver.nameservers = [address]
            self._resolver.lifetime = self._seconds
        return self._resolver


def _address(server: str) -> tuple[str, int]:
    address, port = server, "53"
    if server.startswith("["):
        address, bracket, rest = server[1:].partition("]")
        port = (rest.removeprefix(":") or port) if bracket else ""
    elif server.count(":") == 1:
        address, _, port = server.partition(":")
    try:
        ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 2**16:
        raise UsageError(
            f"--resolver {server} is no address of a name server", hint="such as 9.9.9.9 or 127.0.0.1:5353"
        )
    return address, number
