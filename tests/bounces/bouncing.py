"""Real mail servers that are handed letters nobody takes, and report that to the letters' return path.

Each hands everything on to a sink, which refuses by the part before the @ and keeps what comes back to
club.example. Run as a script, it writes what the servers say into tests/bounces/reports.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "smtp"))

from aiosmtpd.controller import Controller  # noqa: E402 - after the path
from bounces_kit import DOMAIN, letter, mark  # noqa: E402 - likewise
from peers import LOOPBACK  # noqa: E402 - likewise
from servers import ROOTS, folder, free_port, must_be_root, process, program  # noqa: E402 - likewise

REFUSALS = {
    "nobody": "550 5.1.1 <{}>: Recipient address rejected: User unknown",
    "full": "552 5.2.2 <{}>: mailbox is full",
    "policy": "550 5.7.1 message blocked, looks like spam",
    "closed": "550 5.2.1 the mailbox {} is disabled",
    "old": "550 no such user here",
}
EXPECTED = {
    "nobody": ("hard", "5.1.1"),
    "full": ("soft", "5.2.2"),
    "policy": ("soft", "5.7.1"),
    "closed": ("hard", "5.2.1"),
    "old": ("hard", ""),
}


class Sink:
    """Refuses, and keeps what is for club.example."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
        local, _, domain = address.partition("@")
        if domain != DOMAIN and local in REFUSALS:
            return REFUSALS[local].format(address)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
        # As the last server of a way does it (RFC 5321, 4.4).
        if not envelope.rcpt_tos[0].endswith(f"@{DOMAIN}"):
            return "250 2.0.0 what other tests left in the queue"
        head = f"Return-Path: <{envelope.mail_from.strip('<>')}>\r\nDelivered-To: {envelope.rcpt_tos[0]}\r\n"
        self.kept.append(head.encode() + envelope.content)
        return "250 2.0.0 kept"


@contextlib.contextmanager
def sink() -> Iterator[tuple[Sink, int]]:
    handler = Sink()
    controller = Controller(handler, hostname=LOOPBACK, port=free_port(), server_hostname="sink.example")
    controller.start()
    try:
        yield handler, controller.port
    finally:
        controller.stop()


@contextlib.contextmanager
def postfix(to: int) -> Iterator[int]:
    program("postfix")
    must_be_root()
    with folder() as home:
        port = free_port()
        log = home / "log" / "mail.log"
        for name in ("etc", "queue", "data", "log"):
            (home / name).mkdir()
        shutil.chown(home / "data", "postfix")
        (home / "etc" / "main.cf").write_text(
            f"""compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {log}
maillog_file_prefixes = {home}
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.b.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
default_transport = smtp:[127.0.0.1]:{to}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtp_dns_support_level = disabled
smtp_host_lookup = native
"""
        )
        (home / "etc" / "master.cf").write_text(
            f"""127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
        )
        with process(["postfix", "-c", str(home / "etc"), "start-fg"], home / "out", port):
            try:
                yield port
            finally:
                # Its master has left the group that `process` ends, and ends its own children.
                master = int((home / "queue" / "pid" / "master.pid").read_text("ascii"))
                os.kill(master, 15)


@contextlib.contextmanager
def exim(to: int) -> Iterator[int]:
    binary = program("exim4")
    must_be_root()
    with folder() as home:
        port = free_port()
        for name in ("spool", "log"):
            (home / name).mkdir()
            shutil.chown(home / name, "Debian-exim", "Debian-exim")
        config = home / "exim.conf"
        config.write_text(
            f"""exim_path = {binary}
primary_hostname = mail.b.example
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
pid_file_path = {home}/spool/pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
keep_environment =
begin routers
away:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = sink
begin transports
sink:
  driver = smtp
  port = {to}
  allow_localhost
begin retry
* * F,1s,1s
"""
        )
        environment = dict(os.environ)
        if libraries := [str(root / "usr/lib/x86_64-linux-gnu") for root in ROOTS]:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        # Exim hands on through itself, which without its privileges in place only root may do.
        with process([binary, "-C", str(config), "-bdf", "-q1s"], home / "out", port, env=environment):
            yield port


@contextlib.contextmanager
def opensmtpd(to: int) -> Iterator[int]:
    binary = program("smtpd")
    must_be_root()
    with folder() as home:
        port = free_port()
        config = home / "smtpd.conf"
        config.write_text(
            f"""listen on 127.0.0.1 port {port} hostname mail.b.example
action "away" relay host "smtp://127.0.0.1:{to}" helo mail.b.example
match from any for any action "away"
"""
        )
        for path in ("/var/lib/opensmtpd/empty", "/var/spool/smtpd"):
            Path(path).mkdir(parents=True, exist_ok=True)
            Path(path).chmod(0o711)
        command = [binary, "-d", "-v", "-f", str(config)]
        with process(_with_a_queue_of_its_own(command), home / "out", port):
            yield port


def _with_a_queue_of_its_own(command: list[str]) -> list[str]:
    """Hide the one place where OpenSMTPD keeps letters, with what other tests left there, if allowed."""
    mount = "mount -t tmpfs -o mode=711 tmpfs /var/spool/smtpd"
    alone = ["unshare", "-m", "sh", "-c"]
    if not shutil.which("unshare"):
        return command
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        return command
    return [*alone, f'{mount} && exec "$@"', "sh", *command]


SERVERS: dict[str, Callable[[int], contextlib.AbstractContextManager[int]]] = {
    "postfix": postfix,
    "exim": exim,
    "opensmtpd": opensmtpd,
}


def bounced(name: str, patience: float = 90) -> dict[str, bytes]:
    """Hand a server one letter for each refusal; return what it reports, by whom it was for."""
    with sink() as (kept, to), SERVERS[name](to) as port:
        with smtplib.SMTP(LOOPBACK, port, timeout=20) as line:
            for local in REFUSALS:
                whom = f"{local}@x.example"
                line.sendmail(f"bounces+{mark(whom)}@{DOMAIN}", [whom], letter(whom, key=whom))
        until = time.monotonic() + patience
        found: dict[str, bytes] = {}
        while len(found) < len(REFUSALS) and time.monotonic() < until:
            time.sleep(0.05)
            for raw in list(kept.kept):
                found |= {local: raw for local in REFUSALS if mark(f"{local}@x.example").encode() in raw}
    return found


if __name__ == "__main__":
    for server in SERVERS:
        for local, report in bounced(server).items():
            print(server, local, message_from_bytes(report).get_content_type())  # noqa: T201 - tells how far it is
            (HERE / "reports" / f"{server}-{local}.eml").write_bytes(report.replace(b"\r\n", b"\n"))
