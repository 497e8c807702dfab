"""What is this letter as Python's own EmailMessage?"""

from __future__ import annotations

from email.headerregistry import Address, HeaderRegistry, UniqueAddressHeader
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

from merge import header
from merge.model import Attachment, Letter, Mailbox
from merge.seal import boundary, is_invitation, transfer, wire_date

_MIME = frozenset(
    {"content-type", "content-transfer-encoding", "content-disposition", "content-id", "mime-version"}
)

_WITH_PARAMETERS = ("content-type", "content-disposition")


class WirePolicy(EmailPolicy):
    """CRLF, seven bits, and headers folded by our own rules, which lose neither blanks nor recipients."""

    def fold(self, name: str, value: Any) -> str:  # noqa: ANN401 - header classes are made at run time
        """Fold one header for `as_string`."""
        return self._folded(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:  # noqa: ANN401 - as above
        """Fold one header for `as_bytes`."""
        return self._folded(name, value).encode()

    def _folded(self, name: str, value: Any) -> str:  # noqa: ANN401 - as above
        if name.lower() in _WITH_PARAMETERS:
            parameters: list[str] = []
            for key, text in value.params.items():
                parameters += header.write_parameter(key, text)
            first = value.content_type if name.lower() == "content-type" else value.content_disposition
            return header.write_parameters(name, first, parameters)
        addresses = getattr(value, "addresses", None)
        if addresses is not None:
            return header.write_mailboxes(name, [(a.display_name, a.addr_spec) for a in addresses])
        return header.write(name, str(value))


_HEADERS = HeaderRegistry()
_HEADERS.map_to_type("disposition-notification-to", UniqueAddressHeader)  # type: ignore[arg-type] # as it maps its own

POLICY = WirePolicy(linesep="\r\n", cte_type="7bit", max_line_length=76, header_factory=_HEADERS)
"""How letters are written: 76 is what RFC 2045, 6.7 allows a quoted-printable line; the default is 78."""


def email_message(letter: Letter) -> EmailMessage:
    """Return the letter as an EmailMessage: what `seal` writes, to look at or to send by other means.

    Bcc is not in it; the recipients are in `letter.envelope`.
    """
    message = EmailMessage(policy=POLICY)
    attached = [file for file in letter.attachments if not file.content_id]
    _set_alternatives(message, letter, [file for file in attached if is_invitation(file)])
    if attached:
        message.make_mixed(boundary=boundary(letter, "mixed"))
        for attachment in attached:
            _add(message, attachment)
    mime = [(name, value) for name, value in message.items() if name != "MIME-Version"]
    for name in message.keys():  # noqa: SIM118 - a message is no dict: iterating over it is not defined
        del message[name]
    for name, value in letter.headers:
        mailboxes = letter.mailboxes.get(name.lower())
        if mailboxes is not None:
            message[name] = [_address(box) for box in mailboxes]
        else:
            message[name] = value
    message["Date"] = wire_date(letter.date)
    message["Message-ID"] = letter.message_id
    message["MIME-Version"] = "1.0"
    for name, value in mime:
        message[name] = value
    return message


def _address(box: Mailbox) -> Address:
    """Return a mailbox as the standard library has it; its own parser refuses letters beyond ASCII."""
    local, _, domain = box.address.rpartition("@")
    return Address(box.name, local, domain)


def _set_alternatives(message: EmailMessage, letter: Letter, invitations: list[Attachment]) -> None:
    """Give a message its plain part, its HTML part and its invitations, as far as there are any."""
    if letter.text is None:
        _set_html(message, letter)
    else:
        _set_text(message, letter.text, "plain")
        if letter.html is not None:
            message.make_alternative(boundary=boundary(letter, "alternative"))
            html = EmailMessage(policy=POLICY)
            _set_html(html, letter)
            del html["MIME-Version"]
            message.attach(html)
    if invitations and message.get_content_type() != "multipart/alternative":
        message.make_alternative(boundary=boundary(letter, "alternative"))
    for attachment in invitations:
        message.attach(_calendar(attachment))


def _set_html(message: EmailMessage, letter: Letter) -> None:
    """Give a message the HTML part, with the pictures that it shows."""
    _set_text(message, letter.html or "", "html")
    inline = [file for file in letter.attachments if file.content_id]
    if inline:
        message.make_related(boundary=boundary(letter, "related"))
        for attachment in inline:
            _add(message, attachment)


def _set_text(part: EmailMessage, text: str, subtype: str) -> None:
    encoding, _ = transfer(text)
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    part.set_content(text, subtype=subtype, charset=charset, cte=encoding)


def _add(message: EmailMessage, attachment: Attachment) -> None:
    part = EmailMessage(policy=POLICY)
    media_type, _, parameters = attachment.media_type.partition(";")
    main, _, sub = media_type.partition("/")
    part.set_content(
        attachment.content,
        maintype=main,
        subtype=sub,
        disposition="inline" if attachment.content_id else "attachment",
        filename=attachment.name,
        cid=f"<{attachment.content_id}>" if attachment.content_id else None,
        params=_parameters(parameters),
    )
    del part["MIME-Version"]
    message.attach(part)


def _calendar(attachment: Attachment) -> EmailMessage:
    part = EmailMessage(policy=POLICY)
    _, _, parameters = attachment.media_type.partition(";")
    part.set_content(attachment.content, maintype="text", subtype="calendar", params=_parameters(parameters))
    del part["MIME-Version"]
    return part


def _parameters(text: str) -> dict[str, str]:
    pairs = (pair.strip().partition("=") for pair in text.split(";") if pair.strip())
    return {name: value for name, _, value in pairs}
