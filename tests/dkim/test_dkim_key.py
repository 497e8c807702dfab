"""A key that cannot be used is told before anything is sent; one that can is never shown."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import sys
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from dkim_kit import key_file, pem, signer

from merge.dkim.key import read_key
from merge.errors import ConfigError

SHORT = b"""\
-----BEGIN RSA PRIVATE KEY-----
MIICVgIBAAKBgADL8ZGeR02Syxv3o+rDGE0bF8xYhX6+CYOfaeoF/WZPMQpMeXKO
A5AJRgqP/sCNyEmKsyXcNQBdOU6guhIlw5kj0w/lFa5SX4/FxJBRuLZY6ETn8n7c
Zo1F/S4QcXJriBlcMIz3lT9acOzfiTfbsxFNcclFSetIkvAIvGlB+gVTAgMBAAEC
fzLBPdI8QIwFzEIHI0fGZnoVpB9rqa01xPIJc9plw+51b/C0UNQTAuer7LkFV3px
nAvOpd91uU96EZ1icV3AnfbsrGQzyWS0/aSKiS4RKgYMLU0LY1NqrxQ+MDOg4hpH
peBTEYxRdBghokA2ts116H3yAT/XRWGYsyu/9dmS3UECQA/dZGCXzN4AKjzkg8/+
faelOwHHjF0WbLyuQWpc4F3gsbQQQxlnNLqnkcYg0PypTyV3GMkz9wVRR+o5qfQh
UvECQAza504eTI47wu69HTqmqbcY++ESTIQttsNM6IoP1acp5eo47t9rd//pltcX
3a+4NAxApJby7uGQYBFnEOYN1IMCQALJaPBuudXlQYYgveazVW81XwAZBVb0sXUT
RvpgBil3Zr+ye5biwihndvvOl+dJ9lUmbnwpXKLafD9wkaIImIECQAjnbyOq1PgH
6OOYVjCT1CYgxgaFuD4ts9Pe54sJoMFiwf/UY5CZTcsSrwpZW5IlEtgRxm9P4aqX
aBNlwky286UCQAxqCmamQBZxwX2ZQBmGg+UEVSvu/04mj2diOj8NalqXUChNtMU5
E+GRbLorSN0jcH/VtkLxU93EKKSslcmOUSQ=
-----END RSA PRIVATE KEY-----
"""
"""Of 1016 bits: one that the library of the tests refuses to make."""


def private():
    return load_pem_private_key(pem(), None)


def public(form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
    return private().public_key().public_bytes(Encoding.PEM, form)


REFUSED = {
    "a public key": (public(), "holds a public key"),
    "a public key of RSA": (public(PublicFormat.PKCS1), "holds a public key"),
    "a passphrase": (
        private().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "protected by a passphrase",
    ),
    "a passphrase, the old way": (
        private().private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
        ),
        "protected by a passphrase",
    ),
    "another kind of key": (
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        "no key for DKIM",
    ),
    "nothing": (b"", "no private key in PEM form"),
    "text": (b"k=rsa; p=MIIB", "no private key in PEM form"),
    "half a key": (pem()[:400], "no private key in PEM form"),
    "half a key with its end": (
        pem()[:400] + b"\n-----END PRIVATE KEY-----\n",
        "no private key in PEM form",
    ),
    "DER": (
        private().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        "no private key in PEM form",
    ),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_key_is_told(tmp_path, content, words):
    path = key_file(tmp_path, content)
    with pytest.raises(ConfigError, match=words) as refused:
        read_key(path, "dkim.pem")
    assert "openssl" in refused.value.hint
    assert "dkim.pem" in refused.value.message
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_key_that_receivers_do_not_count_is_refused(tmp_path):
    short = tmp_path / "short.pem"
    short.write_bytes(SHORT)
    short.chmod(0o600)
    with pytest.raises(ConfigError, match="only 1016 bits; receivers do not count it"):
        read_key(short, "short.pem")


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_the_usual_forms_are_read(tmp_path, bits, form):
    key = read_key(key_file(tmp_path, pem("rsa", bits, form)), "dkim.pem")
    assert (key.algorithm, key.bits) == ("rsa-sha256", bits)
    assert key.record.startswith("v=DKIM1; k=rsa; p=MI")


def test_windows_line_ends_and_a_comment_do_no_harm(tmp_path):
    content = b"made 2026\r\n" + pem().replace(b"\n", b"\r\n")
    assert read_key(key_file(tmp_path, content), "dkim.pem").bits == 2048


def test_an_elliptic_curve_key_is_known_by_its_32_bytes(tmp_path):
    key = read_key(key_file(tmp_path, pem("ed25519")), "dkim.pem")
    assert key.record.startswith("v=DKIM1; k=ed25519; p=")
    assert len(base64.b64decode(key.public)) == 32


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path, mode):
    path = key_file(tmp_path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"others can read the DKIM key dkim\.pem") as refused:
        read_key(path, "dkim.pem")
    assert refused.value.hint == f"chmod 600 {path}"


def test_a_key_that_is_not_there_or_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file") as refused:
        read_key(tmp_path / "gone.pem", "gone.pem")
    assert "openssl genrsa" in refused.value.hint
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_key(tmp_path / "folder", "folder")


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        read_key(key_file(tmp_path), "dkim.pem")
    assert refused.value.hint == 'pip install "mergepost[dkim]"'


def test_a_pair_is_known_in_either_form_and_nothing_else_is(tmp_path):
    key = read_key(key_file(tmp_path), "dkim.pem")
    numbers = private().public_key()
    for form in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
        encoded = base64.b64encode(numbers.public_bytes(Encoding.DER, form)).decode()
        assert key.is_pair_of(encoded)
        assert key.is_pair_of(f"{encoded[:99]} {encoded[99:]}")
    other = read_key(key_file(tmp_path, pem("rsa", 1024)), "other.pem")
    edwards = read_key(key_file(tmp_path, pem("ed25519")), "ed.pem")
    assert edwards.is_pair_of(edwards.public)
    for wrong in (other.public, edwards.public, "", "!", "AAAA", key.public[:-4]):
        assert not key.is_pair_of(wrong)
        assert wrong == edwards.public or not edwards.is_pair_of(wrong)


def test_the_key_is_never_shown_nor_written_down(tmp_path):
    ours = signer(tmp_path)
    key = ours.key()
    body = b"".join(pem().splitlines()[1:-1]).decode()
    for shown in (repr(ours), repr(key), str(key), f"{key}", repr(ours.settings)):
        assert body[:40] not in shown
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not written down"):
            attempt(key)


def test_a_broken_key_is_not_in_the_traceback(tmp_path):
    content = pem()[:-200] + b"\n-----END PRIVATE KEY-----\n"
    body = pem().splitlines()[3].decode()
    with pytest.raises(ConfigError) as refused:
        read_key(key_file(tmp_path, content), "dkim.pem")
    assert body not in "".join(traceback.format_exception(refused.value))
