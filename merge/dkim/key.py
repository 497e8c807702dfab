"""Is this a key to sign with? Read, judged, and never shown; and the record that makes it known."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from merge.errors import ConfigError

FEWEST_BITS = 1024
"""RFC 8301, 3.2: receivers do not count a signature with a shorter RSA key."""

_LARGEST = 65_536
_MAKE_ONE = "make one with: openssl genrsa -out dkim.pem 2048"

Algorithm: TypeAlias = Literal["rsa-sha256", "ed25519-sha256"]


class Key:
    """A private key that signs, and what the world may know of it. Made by `read_key`.

    `bits` is the size of an RSA key, 256 for Ed25519. `public` is the public key in base64, as the tag p= of
    its record has it (RFC 6376, 3.6.1; RFC 8463, 4).
    """

    __slots__ = ("_sign", "algorithm", "bits", "public")

    def __init__(
        self, sign: Callable[[bytes], bytes], algorithm: Algorithm, bits: int, public: bytes
    ) -> None:
        self._sign = sign
        self.algorithm = algorithm
        self.bits = bits
        self.public = base64.b64encode(public).decode("ascii")

    def __repr__(self) -> str:
        return f"Key({self.algorithm}, {self.bits} bits, hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not written down")

    def sign(self, data: bytes) -> bytes:
        """Return the signature: RSASSA-PKCS1-v1_5 (RFC 8017, 8.2), or PureEdDSA of the hash (RFC 8463, 3)."""
        return self._sign(data)

    @property
    def record(self) -> str:
        """The text of the TXT record by which receivers know the key."""
        kind = "rsa" if self.algorithm == "rsa-sha256" else "ed25519"
        return f"v=DKIM1; k={kind}; p={self.public}"

    def is_pair_of(self, public: str) -> bool:
        """Whether a public key, in base64 as the tag p= has it, belongs to this one.

        An RSA key may stand there as SubjectPublicKeyInfo (RFC 5280) or as RSAPublicKey (RFC 8017).
        """
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - likewise

        encoded = "".join(public.split())
        if encoded == self.public:
            return True
        try:
            found = forms.load_der_public_key(base64.b64decode(encoded, validate=True))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False
        written = found.public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(written).decode("ascii") == self.public


def read_key(path: Path, name: str) -> Key:
    """Read a private key in PEM: RSA or Ed25519; `name` is what messages call the file.

    A file that others can read is refused, as for passwords. Raises ConfigError.
    """
    require_library()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - likewise
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa  # noqa: PLC0415 - likewise
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - likewise

    text = _text(path, name)
    if re.search(rb"BEGIN (?:RSA )?PUBLIC KEY", text):
        raise ConfigError(f"{name} holds a public key; to sign, the private one is needed", hint=_MAKE_ONE)
    try:
        private = forms.load_pem_private_key(text, password=None)
    except TypeError:
        raise ConfigError(
            f"the DKIM key {name} is protected by a passphrase",
            hint=f"write it without one: umask 077; openssl pkey -in {name} -out dkim.pem",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{name} holds no private key in PEM form", hint=_MAKE_ONE) from None
    if isinstance(private, ed25519.Ed25519PrivateKey):
        edwards = private
        raw = edwards.public_key().public_bytes(forms.Encoding.Raw, forms.PublicFormat.Raw)
        return Key(lambda data: edwards.sign(hashlib.sha256(data).digest()), "ed25519-sha256", 256, raw)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ConfigError(f"{name} is no key for DKIM, which knows RSA and Ed25519", hint=_MAKE_ONE)
    pair, padded, hashed = private, padding.PKCS1v15(), SHA256()
    if pair.key_size < FEWEST_BITS:
        raise ConfigError(
            f"the DKIM key {name} has only {pair.key_size} bits; receivers do not count it", hint=_MAKE_ONE
        )
    info = pair.public_key().public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
    return Key(lambda data: pair.sign(data, padded, hashed), "rsa-sha256", pair.key_size, info)


def require_library() -> None:
    """Raise ConfigError, with the command to install it, if the library is missing."""
    try:
        import cryptography  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "dkim needs a library that is not installed", hint='pip install "mergepost[dkim]"'
        ) from None


def _text(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if os.name == "posix" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"others can read the DKIM key {name}", hint=f"chmod 600 {path}")
            return file.read(_LARGEST)
    except OSError as error:
        hint = _MAKE_ONE if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"the DKIM key {name} cannot be read: {error.strerror}", hint=hint) from None
