"""What is this letter as Python's own EmailMessage?"""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

from merge import header
from merge.model import Attachment, Letter
from merge.seal import boundary, is_invitation, transfer, wire_date

_MIME = frozenset(
    {"content-type", "content-transfer-encoding", "content-disposition", "content-id", "mime-version"}
)


class WirePolicy(EmailPolicy):
    """CRLF, seven bits, and headers folded by our own rules, which lose neither blanks nor recipients."""

    def fold(self, name: str, value: Any) -> str:
        """Fold one header for `as_string`."""
        return self._folded(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Fold one header for `as_bytes`."""
        return self._folded(name, value).encode()

    def _folded(self, name: str, value: Any) -> str:
        if name.lower() in ("content-type", "content-disposition"):
            parameters: list[str] = []
            for key, text in value.params.items():
                parameters += header.write_parameter(key, text)
            first = value.content_type if name.lower() == "content-type" else value.content_disposition
            return header.write_parameters(name, first, parameters)
        addresses = getattr(value, "addresses", None)
        if addresses is not None:
            return header.write_mailboxes(name, [(a.display_name, a.addr_spec) for a in addresses])
        return header.write(name, str(value))


POLICY = WirePolicy(linesep="\r\n", cte_type="7bit", raise_on_defect=False)


def email_message(letter: Letter) -> EmailMessage:
    """Return the letter as an EmailMessage: what `seal` writes, to look at or to send by other means.

    Bcc is not in it; the recipients are in `letter.envelope`.
    """
    message = EmailMessage(policy=POLICY)
    for name, value in letter.headers:
        mailboxes = letter.mailboxes.get(name.lower())
        if mailboxes is not None:
            message[name] = [Address(m.name, addr_spec=m.address) for m in mailboxes]
        else:
            message[name] = value
    message["Date"] = wire_date(letter.date)
    message["Message-ID"] = letter.message_id
    message["MIME-Version"] = "1.0"
    inline = [a for a in letter.attachments if a.content_id]
    attached = [a for a in letter.attachments if not a.content_id]
    if letter.text is not None:
        _set_text(message, letter.text, "plain")
        if letter.html is not None:
            message.make_alternative(boundary=boundary(letter, "alternative"))
    html = message
    if letter.html is not None:
        if letter.text is not None:
            html = EmailMessage(policy=POLICY)
        _set_text(html, letter.html, "html")
        if inline:
            html.make_related(boundary=boundary(letter, "related"))
            for attachment in inline:
                _add(html, attachment)
        if html is not message:
            message.attach(html)
    invitations = [a for a in attached if is_invitation(a)]
    if invitations:
        if message.get_content_type() != "multipart/alternative":
            message.make_alternative(boundary=boundary(letter, "alternative"))
        for attachment in invitations:
            message.attach(_calendar(attachment))
    if attached:
        message.make_mixed(boundary=boundary(letter, "mixed"))
        for attachment in attached:
            _add(message, attachment)
    return message


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
