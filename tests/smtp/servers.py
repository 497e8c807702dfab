"""Real mail servers as child processes on loopback, each with its configuration in a temporary folder.

A program is looked for on PATH, in /usr/sbin, and in the folders that MERGEPOST_SERVERS names (separated by
colons): roots that hold an unpacked package, or a folder with node_modules. Addresses that begin with "bad"
are refused by each; everything else is accepted and thrown away. `accepted` says how many messages a server
has taken.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from peers import LOOPBACK

ROOTS = [Path(root) for root in os.environ.get("MERGEPOST_SERVERS", "").split(":") if root]


@dataclass
class Running:
    """A server that runs. `secure` is the port of its implicit TLS, if it has one."""

    port: int
    accepted: Callable[[], int]
    secure: int = 0
    ca_file: str = ""


def program(name: str) -> str:
    """Return the path of a program, or skip the test."""
    folders = [root / part for root in ROOTS for part in ("usr/sbin", "usr/bin", "usr/lib/postfix/sbin")]
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", *map(str, folders)])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def must_be_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("this server changes its user and has to be started as root")


@contextlib.contextmanager
def process(
    command: list[str], log: Path, port: int, *, speaks: bool = True, **settings: object
) -> Iterator[None]:
    """Run a program until it answers on its port; end it, and its children, afterwards.

    `speaks`: it says something first, as a mail server does.
    """
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, **settings
        )
    try:
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1) as probe:
                probe.settimeout(5)
                if not speaks or probe.recv(1):
                    break
            if child.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
                break


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a short-named folder: paths of local sockets may not be long."""
    path = Path(tempfile.mkdtemp(prefix="mta"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def certificate(path: Path) -> tuple[Path, Path, str]:
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    key, chain, ca_file = path / "key.pem", path / "chain.pem", path / "ca.pem"
    leaf.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    authority.cert_pem.write_to_path(ca_file)
    for file in (key, chain, ca_file):
        file.chmod(0o644)
    return key, chain, str(ca_file)


def counting(log: Path, pattern: str) -> Callable[[], int]:
    def count() -> int:
        return len(re.findall(pattern, log.read_text(errors="replace"))) if log.exists() else 0

    return count


@contextlib.contextmanager
def postfix(settings: str = "", services: str = "") -> Iterator[Running]:
    """Run Postfix; `settings` are further lines of main.cf, `services` of master.cf."""
    program("postfix")
    must_be_root()
    with folder() as home:
        key, chain, ca_file = certificate(home)
        port, secure = free_port(), free_port()
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
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
default_transport = discard:
smtpd_recipient_restrictions = check_recipient_access pcre:{home}/etc/bad, permit_mynetworks, reject
smtpd_tls_cert_file = {chain}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = may
""".replace("pcre:", "regexp:")
            + settings
        )
        (home / "etc" / "bad").write_text("/^bad/ 550 5.1.1 no such user\n")
        (home / "etc" / "master.cf").write_text(
            f"""127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{secure} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
discard unix - - n - - discard
error unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
            + services
        )
        with process(["postfix", "-c", str(home / "etc"), "start-fg"], home / "out", port):
            try:
                yield Running(
                    port,
                    counting(log, r"cleanup\[\d+\]: \w+: message-id="),
                    secure,
                    ca_file,
                )
            finally:
                # Its master has left the group that `process` ends, and ends its own children.
                master = int((home / "queue" / "pid" / "master.pid").read_text("ascii"))
                os.kill(master, signal.SIGTERM)


@contextlib.contextmanager
def dovecot() -> Iterator[int]:
    """Run Dovecot's login service alone, for user ada and password secret; yield its port."""
    binary = program("dovecot")
    must_be_root()
    with folder() as home:
        port = free_port()
        config = home / "dovecot.conf"
        (home / "users").write_text("ada:{PLAIN}secret\n")
        config.write_text(
            f"""base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {home}/users
}}
userdb {{
  driver = static
  args = uid=dovecot gid=dovecot home={home}
}}
service anvil {{
  # Else each refused login from an address makes the next one slower.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  inet_listener {{
    address = {LOOPBACK}
    port = {port}
  }}
}}
"""
        )
        with process([binary, "-F", "-c", str(config)], home / "out", port, speaks=False):
            yield port


@contextlib.contextmanager
def postfix_with_login() -> Iterator[Running]:
    """Run Postfix that takes letters from who has logged in under TLS, and from nobody else."""
    with (
        dovecot() as port,
        postfix(
            f"""smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:{LOOPBACK}:{port}
smtpd_tls_auth_only = yes
smtpd_client_restrictions = permit_sasl_authenticated, reject
smtpd_delay_reject = yes
"""
        ) as running,
    ):
        yield running


@contextlib.contextmanager
def smtp_sink() -> Iterator[Running]:
    sink = program("smtp-sink")
    with folder() as home:
        port = free_port()
        dump = home / "dump"
        command = [sink, "-D", str(dump), f"{LOOPBACK}:{port}", "100"]
        if os.geteuid() == 0:
            command[1:1] = ["-u", "nobody"]
            shutil.chown(home, "nobody")
        with process(command, home / "out", port):
            yield Running(port, counting(dump, r"(?m)^X-Mail-Args:"))


@contextlib.contextmanager
def exim() -> Iterator[Running]:
    binary = program("exim4")
    must_be_root()
    with folder() as home:
        key, chain, ca_file = certificate(home)
        port, secure = free_port(), free_port()
        for name in ("spool", "log"):
            (home / name).mkdir()
            shutil.chown(home / name, "Debian-exim", "Debian-exim")
        config = home / "exim.conf"
        config.write_text(
            f"""primary_hostname = mail.b.example
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
pid_file_path = {home}/spool/pid
daemon_smtp_ports = {port} : {secure}
tls_on_connect_ports = {secure}
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = {chain}
tls_privatekey = {key}
auth_advertise_hosts = *
chunking_advertise_hosts = *
pipelining_advertise_hosts = *
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max_per_connection = 2000
smtp_accept_max_nonmail = 100000
acl_smtp_rcpt = rcpt
queue_only
keep_environment =
begin acl
rcpt:
  deny local_parts = ^bad
       message = 550 5.1.1 no such user
  accept
begin routers
none:
  driver = redirect
  data = :blackhole:
begin transports
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{ada}}}}{{eq{{$auth3}}{{secret}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = User : Pass
  server_condition = ${{if and{{{{eq{{$auth1}}{{ada}}}}{{eq{{$auth2}}{{secret}}}}}}}}
  server_set_id = $auth1
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq{{$auth1}}{{ada}}{{secret}}fail}}
  server_set_id = $auth1
"""
        )
        environment = dict(os.environ)
        libraries = [str(root / "usr/lib/x86_64-linux-gnu") for root in ROOTS]
        if libraries:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        command = [binary, "-C", str(config), "-bdf", "-v"]
        main = home / "log" / "mainlog"
        with process(command, home / "out", port, env=environment):
            yield Running(port, counting(main, r" <= "), secure, ca_file)


@contextlib.contextmanager
def opensmtpd() -> Iterator[Running]:
    binary = program("smtpd")
    must_be_root()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as control:
        control.connect("/var/run/smtpd.sock")
        pytest.skip("another OpenSMTPD runs here, and there can be but one")
    with folder() as home:
        port = free_port()
        config = home / "smtpd.conf"
        config.write_text(
            f"""listen on 127.0.0.1 port {port} hostname mail.b.example
table bad {{ "^bad.*" }}
match from local for any rcpt-to regex <bad> reject
action "away" relay host "smtp://127.0.0.1:9"
match from local for any action "away"
"""
        )
        for path in ("/var/lib/opensmtpd/empty", "/var/spool/smtpd"):
            Path(path).mkdir(parents=True, exist_ok=True)
            Path(path).chmod(0o711)
        log = home / "out"
        with process([binary, "-d", "-v", "-f", str(config)], log, port):
            yield Running(port, counting(log, r"smtp message msgid"))


@contextlib.contextmanager
def haraka() -> Iterator[Running]:
    node = program("node")
    where = [root / "node_modules" / "Haraka" for root in ROOTS]
    base = next((path for path in where if path.exists()), None)
    if base is None:
        pytest.skip(
            "Haraka is not installed here: MERGEPOST_SERVERS names no folder with node_modules/Haraka"
        )
    with folder() as home:
        port = free_port()
        for name in ("config", "plugins", "queue"):
            (home / name).mkdir()
        (home / "config" / "smtp.ini").write_text(f"listen=127.0.0.1:{port}\nnodes=0\n")
        (home / "config" / "plugins").write_text("take\nauth/flat_file\n")
        (home / "config" / "auth_flat_file.ini").write_text(
            "[core]\nmethods=PLAIN,LOGIN,CRAM-MD5\n[users]\nada=secret\n"
        )
        shutil.copy(base / "config" / "connection.ini", home / "config")
        (home / "config" / "me").write_text("mail.b.example\n")
        (home / "config" / "host_list").write_text("b.example\n")
        (home / "plugins" / "take.js").write_text(
            """const fs = require('node:fs');
exports.hook_mail = (next) => next(OK);
exports.hook_rcpt = (next, connection, params) => {
  if (params[0].user.startsWith('bad')) return next(DENY, 'no such user');
  return next(OK);
};
exports.hook_queue = (next) => { fs.appendFileSync('COUNT', 'taken\\n'); next(OK); };
""".replace("COUNT", str(home / "count"))
        )
        command = [node, str(base / "bin" / "haraka"), "-c", str(home)]
        with process(command, home / "out", port):
            yield Running(port, counting(home / "count", "taken"))


@contextlib.contextmanager
def aiosmtpd_server(*, tls: bool = False, login: bool = False) -> Iterator[Running]:
    class Handler:
        accepted = 0

        async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - aiosmtpd's name
            if address.startswith("bad"):
                return "550 5.1.1 no such user"
            envelope.rcpt_tos.append(address)
            return "250 ok"

        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - aiosmtpd's name
            self.accepted += 1
            return "250 2.0.0 queued"

    def authenticate(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"ada", b"secret"))

    with folder() as home:
        key, chain, ca_file = certificate(home)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        handler = Handler()

        class Loopback(Controller):
            def factory(self) -> SMTP:
                return SMTP(
                    handler,
                    tls_context=context if tls else None,
                    require_starttls=tls,
                    auth_required=login,
                    auth_require_tls=tls,
                    authenticator=authenticate if login else None,
                    hostname="mail.b.example",
                )

        controller = Loopback(handler, hostname=LOOPBACK, port=free_port())
        controller.start()
        try:
            yield Running(controller.port, lambda: handler.accepted, 0, ca_file)
        finally:
            controller.stop()


SERVERS = {
    "postfix": postfix,
    "smtp-sink": smtp_sink,
    "exim": exim,
    "opensmtpd": opensmtpd,
    "haraka": haraka,
    "aiosmtpd": aiosmtpd_server,
}
