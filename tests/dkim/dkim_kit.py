"""What the tests of signatures share: keys, and two judges that know nothing of our code.

`dkimpy` and `opendkim` are given the public key in place of the DNS. A message passes when both say so.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from merge.dkim import DkimSettings, DkimSigner
from merge.model import Delivery, Envelope

DOMAIN, SELECTOR = "club.example", "news"
PLACE = f"{SELECTOR}._domainkey.{DOMAIN}"
MOMENT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
USUAL = (
    b"From: Ada Club <news@club.example>\r\nTo: zoe@x.example\r\nSubject: News\r\n"
    b"Date: Mon, 23 Nov 2026 09:30:00 +0000\r\nMessage-ID: <1@club.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n"
)


@functools.cache
def pem(kind: str = "rsa", bits: int = 2048, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    """Return a private key, the same for all tests of a run."""
    private = rsa.generate_private_key(65537, bits) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, form, NoEncryption())


def key_file(folder: Path, content: bytes | None = None, name: str = "dkim.pem") -> Path:
    """Write a private key as a careful person does."""
    path = folder / name
    path.write_bytes(pem() if content is None else content)
    path.chmod(0o600)
    return path


def signer(folder: Path, content: bytes | None = None, *headers: str) -> DkimSigner:
    path = key_file(folder, content)
    return DkimSigner(DkimSettings(DOMAIN, SELECTOR, path, path.name, headers))


def delivery(content: bytes) -> Delivery:
    return Delivery(
        "1", 2, Envelope("news@club.example", ("zoe@x.example",)), content, "<1@club.example>", MOMENT, ""
    )


def passes_dkimpy(content: bytes, record: str, place: str = PLACE) -> bool:
    def texts(name: bytes, timeout: float = 5) -> bytes:
        assert name.decode() == f"{place}."
        return record.encode()

    return bool(dkim.verify(content, dnsfunc=texts))


def opendkim_there() -> bool:
    return _opendkim() is not None


def passes_opendkim(contents: Iterable[bytes], record: str) -> list[bool]:
    """Return the verdict of OpenDKIM on each message. It reads files with the line ends of this system."""
    program = _opendkim()
    assert program
    with tempfile.TemporaryDirectory(prefix="dkim") as name:
        folder = Path(name)
        (folder / "keys").write_text(f"{PLACE} {record}\n", "ascii")
        (folder / "conf").write_text(f"Mode v\nTestPublicKeys {folder}/keys\n", "ascii")
        files = []
        for number, content in enumerate(contents):
            path = folder / f"m{number:04}.eml"
            path.write_bytes(content.replace(b"\r\n", b"\n"))
            files.append(path)
        said = subprocess.run(
            [program, "-x", folder / "conf", "-t", ",".join(map(str, files))],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        told = said.stdout + said.stderr
        return [f"{path}: verification (s={SELECTOR}, d={DOMAIN}, " in told and any(
            line.startswith(f"opendkim: {path}: verification") and line.endswith("succeeded")
            for line in told.splitlines()
        ) for path in files]  # fmt: skip


@functools.cache
def _opendkim() -> str | None:
    return shutil.which("opendkim", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
