"""How do the bytes travel? The socket and TLS, and nothing else of either anywhere else.

Nothing blocks but `wait`, `connect` and `handshake`, each for a stated time. A line that breaks is `Broken`;
what no second try can mend is CarrierError.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from merge.errors import CarrierError, ConfigError, MergeError

CHUNK: Final = 64 * 1024
"""Bytes that are handed over, or taken, at once."""

Watch: TypeAlias = Callable[[float], object]

_SLICE = 0.25
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_UNKNOWN_NAME = {
    code
    for code in (getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_FAIL"))
    if code is not None
}
_TOO_OLD = ("PROTOCOL", "VERSION_TOO_LOW", "HANDSHAKE_FAILURE", "NO_SHARED_CIPHER")


def acknowledges_at_once() -> bool:
    """Whether the system can be told to acknowledge what arrives at once."""
    return _QUICKACK is not None


class Broken(MergeError):  # noqa: N818 - says what the line is
    """The line is broken, or could not be made; another may do. The message is a predicate of the server."""


class UnknownName(Broken):
    """The server's name does not exist, or cannot be looked up without a network."""


class Clock(Protocol):
    """The time, as far as a line needs it."""

    @property
    def interrupted(self) -> bool:
        """Whether the person has asked the run to stop."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""

    def sleep(self, seconds: float) -> None:
        """Wait; return early when interrupted."""


def trust(ca_file: str = "") -> ssl.SSLContext:
    """Return what verifies a server's certificate and its name; TLS 1.2 or newer (RFC 8996).

    Raises ConfigError if `ca_file` cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates in {ca_file} cannot be read: {error.strerror or error}",
            hint="ca_file names a file of certificates in PEM form.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Security:
    """TLS for one server: trust is read once, sessions are resumed where possible (RFC 8446, 2.2).

    Verifies the certificate and the host name always; TLS 1.2 or newer (RFC 8996).
    Raises ConfigError if `ca_file` cannot be read.
    """

    def __init__(self, host: str, ca_file: str = "") -> None:
        self._host = host
        self._context = trust(ca_file)
        self._session: ssl.SSLSession | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """Return the trust itself, for a client that makes its own lines."""
        return self._context

    def wrap(self, plain: socket.socket) -> ssl.SSLSocket:
        """Return the socket with TLS on it, the handshake still to be made."""
        return self._context.wrap_socket(
            plain, server_hostname=self._host, do_handshake_on_connect=False, session=self._session
        )

    def remember(self, line: ssl.SSLSocket) -> None:
        """Keep the session of a line that is about to be closed."""
        if line.session is not None:
            self._session = line.session


class Wire:
    """One connection to one server.

    `clock` measures the deadlines; an interrupt ends `connect` and `wait` early.
    """

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._socket: socket.socket | None = None
        self._security: Security | None = None
        self._reached = "::"  # the server's address
        self._secure = False  # the handshake is done
        self._wants_read = False
        self._heard = False  # something arrived since the last write
        self._arrived: Watch = _never
        self._writable: Watch = _never
        self._either: Watch = _never

    # Making it

    def connect(self, seconds: float) -> None:
        """Connect to the first of the host's addresses that answers; each has that long.

        Raises UnknownName if the host's name does not exist, Broken if no address answers.
        """
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            if isinstance(error, UnicodeError) or error.errno in _UNKNOWN_NAME:
                raise UnknownName(
                    "does not exist: no such name",
                    hint="Check the host of the account, and whether this computer is online.",
                ) from None
            raise Broken(f"cannot be looked up now ({error.strerror})") from None
        except OSError as error:
            raise Broken(f"cannot be looked up now ({_words(error)})") from None
        reason = "no address"
        for family, kind, protocol, _, address in found:
            try:
                self._reach(family, kind, protocol, address, seconds)
            except OSError as error:
                self.close()
                reason = _words(error)
            else:
                return
        raise Broken(f"cannot be reached ({reason})")

    def _reach(self, family: int, kind: int, protocol: int, address: tuple[Any, ...], seconds: float) -> None:
        line = self._socket = socket.socket(family, kind, protocol)
        self._watch(line)
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            line.connect(address)
        except (BlockingIOError, InterruptedError):
            until = self._clock.monotonic() + seconds
            while not self._writable(1000 * max(0.0, min(_SLICE, until - self._clock.monotonic()))):
                if self._clock.interrupted:
                    raise TimeoutError("interrupted") from None
                if self._clock.monotonic() >= until:
                    raise TimeoutError(f"no answer in {seconds:g} s") from None
        if code := line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, _error_text(code))
        self._reached = str(address[0])

    def handshake(self, security: Security, seconds: float) -> None:
        """Start TLS. Raises CarrierError if the server cannot be trusted, Broken if the line fails."""
        plain = self._socket
        if plain is None:
            raise Broken("closed the connection")
        until = self._clock.monotonic() + seconds
        try:
            line = security.wrap(plain)
            self._socket, self._security = line, security
            self._watch(line)
            while True:
                try:
                    line.do_handshake()
                except ssl.SSLWantReadError:
                    watch = self._arrived
                except ssl.SSLWantWriteError:
                    watch = self._writable
                else:
                    self._secure = True
                    return
                left = until - self._clock.monotonic()
                if left <= 0 or not watch(left * 1000):
                    raise Broken(f"did not finish the TLS handshake in {seconds:g} s")
        except ssl.SSLCertVerificationError as error:
            raise CarrierError(
                f"the certificate of {self._host}:{self._port} cannot be trusted: {error.verify_message}",
                hint=_certificate_hint(error),
            ) from None
        except ssl.SSLError as error:
            raise _handshake_failure(error, self._host, self._port, upgraded=self._heard) from None
        except OSError as error:
            raise Broken(f"broke off the TLS handshake ({_words(error)})") from None

    # Using it

    def send(self, data: bytes | memoryview) -> int:
        """Hand over what the line takes now, perhaps nothing. Returns how many bytes. Raises Broken."""
        line = self._socket or self._open()
        self._heard = False
        try:
            return line.send(data)
        except ssl.SSLWantReadError:
            self._wants_read = True
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            raise Broken(f"broke the connection ({_words(error)})") from None
        return 0

    def receive(self) -> bytes | None:
        """Return what has arrived; None if nothing has, b"" if the server has closed. Raises Broken."""
        line = self._socket or self._open()
        self._wants_read = False
        try:
            data = line.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except OSError as error:
            raise Broken(f"broke the connection ({_words(error)})") from None
        self._heard = True
        return data

    def wait(self, seconds: float, *, write: bool = False) -> bool:
        """Wait until something has arrived or, with `write`, the line takes more. False: it was in vain."""
        line = self._socket or self._open()
        if self._secure and isinstance(line, ssl.SSLSocket) and line.pending():
            return True
        if self._heard and _QUICKACK is not None and seconds > 0:
            # A piece of an answer is here. Nagle's algorithm may hold back the rest until it is acknowledged,
            # which the system puts off by 40 ms as long as this side has nothing to say.
            line.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        watch = self._either if write and not self._wants_read else self._arrived
        return bool(watch(seconds * 1000 if seconds > 0 else 0))

    def close(self) -> None:
        """Close without a word. A TLS session is kept for the next line."""
        line, self._socket = self._socket, None
        if line is None:
            return
        if isinstance(line, ssl.SSLSocket) and self._security is not None and self._secure:
            self._security.remember(line)
        self._secure = False
        with contextlib.suppress(OSError):  # a reset may still be reported here; the line is gone either way
            line.close()

    # What it is

    @property
    def literal(self) -> str:
        """This side's address as an address literal (RFC 5321, 4.1.3); it tells no name."""
        address = _plain(self._open().getsockname()[0])
        return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - IP's version

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine: by the address that was reached, whatever its name."""
        return _plain(self._reached).is_loopback

    @property
    def tls_version(self) -> str:
        """Such as "TLSv1.3"; empty without TLS."""
        line = self._socket
        return (line.version() or "") if isinstance(line, ssl.SSLSocket) else ""

    @property
    def issuer(self) -> str:
        """Who has signed the server's certificate, in its own words; empty without TLS."""
        named = {key: value for part in self._certificate.get("issuer", ()) for key, value in part}
        return str(named.get("organizationName") or named.get("commonName") or "")

    @property
    def expires(self) -> float:
        """When the server's certificate ends, in seconds since the epoch; 0 without TLS."""
        end = self._certificate.get("notAfter")
        return float(ssl.cert_time_to_seconds(end)) if end else 0.0

    @property
    def _certificate(self) -> dict[str, Any]:
        line = self._socket
        return (line.getpeercert() or {}) if isinstance(line, ssl.SSLSocket) else {}

    def _watch(self, line: socket.socket) -> None:
        self._arrived = _watching(line, read=True)
        self._writable = _watching(line, write=True)
        self._either = _watching(line, read=True, write=True)

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise Broken("closed the connection")
        return self._socket


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address without its zone, as IPv4 where it is such an address in IPv6's clothes."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _never(_: float) -> bool:
    return False


def _watching(line: socket.socket, *, read: bool = False, write: bool = False) -> Watch:
    """Return what waits, for so many milliseconds, and says whether something is ready."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(line, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        return poll.poll

    def watch(milliseconds: float) -> bool:  # Windows
        return any(
            select.select([line] if read else [], [line] if write else [], [line], milliseconds / 1000)
        )

    return watch


def _words(error: OSError) -> str:
    """Return what went wrong in few words, whatever the system calls it."""
    match error:
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return "reset"
        case TimeoutError():
            return str(error) or "timed out"
        case ssl.SSLError():
            return error.reason or "TLS error"
    return (error.strerror or str(error) or type(error).__name__).lower()


def _error_text(code: int) -> str:
    import os  # noqa: PLC0415 - only for a connection that failed

    return os.strerror(code)


def _certificate_hint(error: ssl.SSLCertVerificationError) -> str:
    text = (error.verify_message or "").lower()
    if "expired" in text or "not yet valid" in text:
        return "Check this computer's date; otherwise the server's owner must renew it. Nothing was sent."
    if "mismatch" in text or "not valid for" in text:
        return "The host of the account is perhaps not the server's proper name. Nothing was sent."
    return (
        "If the server belongs to you or your organisation, set ca_file to the certificate of its authority."
        " Nothing was sent."
    )


def _handshake_failure(error: ssl.SSLError, host: str, port: int, *, upgraded: bool) -> MergeError:
    """Return what a failed handshake means; `upgraded`: the line was in clear before."""
    reason = error.reason or ""
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}:
        if upgraded:
            return CarrierError(
                f"{host}:{port} went on in clear after its answer to STARTTLS",
                hint="Someone may be interfering with the connection. Try another network.",
            )
        return CarrierError(
            f"{host}:{port} does not speak TLS from the start",
            hint='Port 465 usually wants security = "tls", ports 587 and 25 "starttls".',
        )
    if any(word in reason for word in _TOO_OLD):
        return CarrierError(
            f"{host}:{port} offers no TLS that is safe enough ({reason.lower().replace('_', ' ')})",
            hint="TLS 1.2 or newer is needed. Ask who runs the server.",
        )
    return Broken(f"broke off the TLS handshake ({reason.lower().replace('_', ' ') or 'closed'})")
