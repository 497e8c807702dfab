"""Is this one mailbox?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from merge.domains import likely_domain
from merge.errors import AddressError
from merge.model import Mailbox

LONGEST_LINE = 998
"""Characters of a line of a message (RFC 5322, 2.1.1): no mailbox with its name is longer."""

LONGEST_LOCAL_PART = 64
LONGEST_ADDRESS = 254
"""Octets (RFC 5321, 4.5.3.1): of a path the two brackets are not counted here."""

_INVISIBLE = "\u00a0\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_BLANK = re.compile(rf"[\s{_INVISIBLE}]+")
_OUTER = "".join(filter(_BLANK.fullmatch, map(chr, (*range(0x3001), 0xFEFF))))  # there are no others
_HIDDEN = re.compile(rf"[{_INVISIBLE}]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_TEXT = r"[A-Za-z0-9#$&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ROLES = frozenset(
    (
        *("abuse", "ftp", "hostmaster", "info", "marketing", "news", "noc", "postmaster", "sales"),
        *("security", "support", "usenet", "uucp", "webmaster", "www"),
    )
)
"""Mailboxes whose names are the same in any case (RFC 2142)."""

_PLAIN = re.compile(rf"({_TEXT}(?:\.{_TEXT})*)@((?:{_LABEL}\.)+[A-Za-z]{{2,63}})")
_SPECIAL_USE = frozenset(("arpa", "invalid", "local", "localhost", "onion", "test"))
"""Top-level domains in which nobody gets mail (RFC 6761)."""

_NAMED = re.compile(
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^"<>@,;:\\()\[\]]*))\s*<(?P<address>[^<>]*)>'
)
_PARTS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|<[^<>]*>|[^,"<]|["<])*?(?:,|$)')
_TWICE = re.compile(r"(?P<bare>)(?P<quoted>)(?P<address>[^\s<>]+) <(?i:(?P=address))>")
_ADDRESS_LIKE = re.compile(r"[^\s@,;<>()]+@[^\s@,;<>()]+\.[^\s@,;<>()]+")
_SPOKEN_AT = re.compile(r"\s*[(\[{]\s*at\s*[)\]}]\s*|\s+at\s+|\s*\(a\)\s*", re.IGNORECASE)
_SPOKEN_DOT = re.compile(r"\s*[(\[{]\s*(?:dot|punkt)\s*[)\]}]\s*|\s+dot\s+", re.IGNORECASE)


def parse_mailbox(text: str) -> Mailbox:
    """Return the one mailbox that `text` holds: "bob@example.com" or "Bob <bob@example.com>".

    Blanks and invisible characters around it are dropped (`remarks` tells of them). The address is an
    addr-spec of RFC 5322, 3.4.1, without quoted strings, comments, literals and source routes; the domain
    comes back in lower-case A-labels (RFC 5890). Raises AddressError, with a guess as its hint.
    """
    if plain := _plain(text):
        return Mailbox("", plain)
    bare = text.strip(_OUTER)
    if not bare:
        raise AddressError("the address is empty")
    if len(bare) > LONGEST_LINE:
        raise AddressError(f"the address is longer than {LONGEST_LINE} characters")
    if unsafe := _CONTROL.search(bare):
        raise AddressError(f"the address holds {_described(unsafe[0])}")
    named = _NAMED.fullmatch(bare) or _TWICE.fullmatch(bare)
    if not named and len(_ADDRESS_LIKE.findall(bare)) > 1:
        raise AddressError("two addresses in one cell", hint="give the other a row of its own")
    if not named:
        return Mailbox("", _checked(bare))
    return Mailbox(_display_name(named), _checked(named["address"].strip(_OUTER)))


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """Return the mailboxes of an address header: a comma-separated list; blank places are passed over.

    Raises AddressError for the first that is not a mailbox.
    """
    parts = (part.strip(_OUTER) for part in _split(text))
    return tuple(parse_mailbox(part) for part in parts if part)


def normalise(address: str) -> str:
    """Return the form in which two spellings of one address are equal: case-folded, domain in A-labels.

    Raises AddressError like `parse_mailbox`.
    """
    return parse_mailbox(address).address.casefold()


def remarks(text: str) -> tuple[str, ...]:
    """Return what a person should look at although `text` is a mailbox: warnings, in plain words.

    Raises AddressError like `parse_mailbox`.
    """
    mailbox = parse_mailbox(text)
    local, _, domain = mailbox.address.rpartition("@")
    notes = list(_about_domain(domain))
    before, _, after = text.partition(text.strip(_OUTER))
    if hidden := _HIDDEN.findall(before + after):
        dropped = ", ".join(map(_described, hidden))
        notes.append(f"invisible characters around the address were dropped: {dropped}")
    elif before or after:
        notes.append("blanks around the address were dropped")
    if not local.isascii():
        notes.append("the part before the @ is not ASCII: only a server with SMTPUTF8 takes it (RFC 6531)")
    return tuple(notes)


def _plain(text: str) -> str:
    """Return an everyday address with its domain in lower case; an empty text if the validator must judge.

    The pattern accepts nothing that the validator refuses; it takes a twentieth of its time.
    """
    plain = _PLAIN.fullmatch(text)
    if not plain:
        return ""
    local, domain = plain.groups()
    domain = domain.lower()
    special = "=?" in text or "--" in domain or domain.rpartition(".")[2] in _SPECIAL_USE
    if special or len(text) > LONGEST_ADDRESS or len(local) > LONGEST_LOCAL_PART:
        return ""
    # The validator writes the names of RFC 2142 small, which are the same however they are written.
    return f"{local.lower() if local.lower() in _ROLES else local}@{domain}"


def _checked(address: str) -> str:
    """Return the address with its domain in A-labels."""
    if plain := _plain(address):
        return plain
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415 - 67 ms, seldom needed

    if "%" in address or "!" in address:
        raise AddressError("the address holds a source route (% or !)", hint=_guess(address))
    if "=?" in address:
        raise AddressError("the address holds an encoded word", hint=_guess(address))
    try:
        found = validate_email(address, check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise AddressError(_plain_words(str(error)), hint=_guess(address)) from None
    sent = f"{found.local_part}@{found.ascii_domain}"
    if len(found.local_part.encode()) > LONGEST_LOCAL_PART or len(sent.encode()) > LONGEST_ADDRESS:
        raise AddressError("the address is too long")
    return sent


def _plain_words(message: str) -> str:
    """Return the validator's sentence as a clause that can stand after a row number."""
    words = re.sub(r"^(?:The|An) email address ", "the address ", message.removesuffix("."))
    return words[:1].lower() + words[1:]


def _display_name(named: re.Match[str]) -> str:
    bare = named["bare"]
    name = re.sub(r"\\(.)", r"\1", named["quoted"]) if bare is None else bare
    name = " ".join(name.split())
    if "=?" in name:
        raise AddressError("the name before the address holds an encoded word")
    return name


def _split(text: str) -> Iterator[str]:
    """Cut at the commas that stand outside quotes and angle brackets."""
    start, inside = 0, ""
    escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif inside == '"':
            escaped = character == "\\"
            inside = "" if character == '"' else inside
        elif inside == "<":
            inside = "" if character == ">" else inside
        elif character in '"<':
            inside = character
        elif character == ",":
            yield text[start:position]
            start = position + 1
    yield text[start:]


def _guess(address: str) -> str:
    """Return "did you mean ...?" for a mistake that has one obvious cure, else an empty text."""
    for candidate in _cures(address):
        if candidate != address and (plain := _PLAIN.fullmatch(candidate)):
            return f"did you mean {plain[0]}?"
    return ""


def _cures(address: str) -> Iterator[str]:
    text = _HIDDEN.sub("", unicodedata.normalize("NFKC", address)).strip()
    text = re.sub(r"^(?:mailto|e-?mail|to):\s*", "", text, flags=re.IGNORECASE).partition("?")[0]
    text = text.strip(" \t.,;:<>()[]\"'")
    yield text
    text = _SPOKEN_DOT.sub(".", _SPOKEN_AT.sub("@", text, count=1))
    yield text
    text = re.sub(r"@{2,}", "@", re.sub(r"\.{2,}", ".", text))
    yield text
    yield _BLANK.sub("", text)
    local, _, domain = text.rpartition("@")
    yield f"{local}@{domain.replace(',', '.')}"
    yield f"{local}@{domain.replace('_', '-')}"


@lru_cache(maxsize=4096)
def _about_domain(domain: str) -> tuple[str, ...]:
    """Return the warnings that the domain alone deserves."""
    notes = []
    if likely := likely_domain(domain):
        notes.append(f"did you mean {likely}?")
    if "xn--" in domain:
        import idna  # noqa: PLC0415 - seldom needed

        shown = idna.decode(domain)
        notes.append(f"{shown} is sent as {domain}")
        if any(len(_scripts(label)) > 1 for label in shown.split(".")):
            notes.append(f"{shown} mixes letters of several scripts: it may imitate another domain")
    return tuple(notes)


_EAST_ASIAN = (
    {"CJK", "HIRAGANA", "KATAKANA", "LATIN"},
    {"CJK", "HANGUL", "LATIN"},
    {"CJK", "BOPOMOFO", "LATIN"},
)


def _scripts(label: str) -> set[str]:
    """Return the scripts of the letters of a label; the usual mixtures of East Asia count as one."""
    names = (unicodedata.name(letter, "") for letter in label if letter.isalpha())
    scripts = {re.split(r"[ -]", name)[0] for name in names if name}
    return set() if any(scripts <= mixture for mixture in _EAST_ASIAN) else scripts


def _described(characters: str) -> str:
    return ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in characters)
