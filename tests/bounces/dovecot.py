"""A Dovecot of our own: private configuration, loopback, TLS, one user; as whoever runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers import certificate, folder, free_port, process, program

USER, PASSWORD = "bounces@club.example", "Plant-3d s3cret, never shown"


@dataclass
class Running:
    """Where it listens, and the Maildir of its one user."""

    port: int
    secure: int
    ca_file: str
    mails: Path


@contextlib.contextmanager
def dovecot() -> Iterator[Running]:
    binary = program("dovecot")
    with folder() as home:
        key, chain, ca_file = certificate(home)
        port, secure = free_port(), free_port()
        mails = home / "mail"
        for part in ("new", "cur", "tmp"):
            (mails / part).mkdir(parents=True)
        me = getpass.getuser() if os.geteuid() else "nobody"
        entry = pwd.getpwnam(me)
        (home / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}:{entry.pw_uid}:{entry.pw_gid}::{home}::\n")
        config = home / "dovecot.conf"
        config.write_text(
            f"""base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{chain}
ssl_key = <{key}
auth_mechanisms = plain login
disable_plaintext_auth = yes
default_internal_user = {me}
default_internal_group = {_group(entry.pw_gid)}
default_login_user = {me}
mail_location = maildir:{mails}
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {home}/users
}}
userdb {{
  driver = passwd-file
  args = {home}/users
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {secure}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
"""
        )
        if not os.geteuid():
            for path in (home, *home.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        with process([binary, "-F", "-c", str(config)], home / "out", port):
            yield Running(port, secure, ca_file, mails)


def _group(number: int) -> str:

    return grp.getgrgid(number).gr_name
