"""A sendmail program: how it is called, what its end means, and that a letter is never handed over twice."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ways_kit import delivery

from merge.errors import CarrierError, ConfigError
from merge.model import Delivery, Envelope, Outcome, State
from merge.program import Program, arguments, found, reads_recipients

S, F, D, U = State.SENT, State.FAILED, State.DEFERRED, State.UNCERTAIN
HERE = Path(__file__).parent
ENVELOPE = Envelope("news@ada.example", ("-evil@x.example", "b@x.example"))


@pytest.fixture
def program(tmp_path: Path) -> Any:
    def made(body: str, **more: Any) -> Program:
        path = tmp_path / "fake-sendmail"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        options = more.pop("options", ())
        return Program([str(path), *options], **more)

    return made


def hand(way: Program, one: Delivery) -> Outcome:
    way.offer(one)
    (outcome,) = way.collect(0.0)
    return outcome


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("msmtp", "msmtp -i -f news@ada.example -- -evil@x.example b@x.example"),
        ("msmtp -i", "msmtp -i -f news@ada.example -- -evil@x.example b@x.example"),
        ("sendmail -oi", "sendmail -oi -f news@ada.example -- -evil@x.example b@x.example"),
        (
            "sendmail -f bounce@ada.example",
            "sendmail -f bounce@ada.example -i -- -evil@x.example b@x.example",
        ),
        ("msmtp --from=b@ada.example", "msmtp --from=b@ada.example -i -- -evil@x.example b@x.example"),
        ("sendmail -t", "sendmail -t -i -f news@ada.example"),
        ("sendmail -ti", "sendmail -ti -f news@ada.example"),
        ("sendmail -it -fx@ada.example", "sendmail -it -fx@ada.example"),
        (
            "msmtp -a work --tls=on",
            "msmtp -a work --tls=on -i -f news@ada.example -- -evil@x.example b@x.example",
        ),
    ],
)
def test_the_command_line(command, words):
    assert arguments(command.split(), ENVELOPE) == words.split()


@pytest.mark.parametrize(
    ("command", "reads"), [("a -t", 1), ("a -ti", 1), ("a", 0), ("a --tls", 0), ("-t", 0)]
)
def test_who_reads_the_recipients(command, reads):
    assert reads_recipients(command.split()) == bool(reads)


def test_the_program_gets_the_letter_and_the_envelope(program, tmp_path):
    way = program('cat > got; printf "%s\\n" "$@" > words; pwd > where')
    one = delivery(2, cc=["boss@people.example"], bcc=["quiet@people.example"], text=".\nA dot.\n.\n")
    outcome = hand(way, one)
    assert outcome.state is S
    assert outcome.reply == "handed over to fake-sendmail"
    assert (outcome.stage, outcome.code) == ("program", 0)
    assert (tmp_path / "got").read_bytes() == one.content.replace(b"\r\n", b"\n")
    assert b"quiet@people.example" not in (tmp_path / "got").read_bytes()
    assert (tmp_path / "words").read_text().splitlines() == [
        *("-i", "-f", "news@ada.example", "--"),
        *("r2@people.example", "boss@people.example", "quiet@people.example"),
    ]


def test_a_cell_is_never_a_word_of_a_shell(program, tmp_path):
    way = program('printf "%s\\n" "$@" > words; cat > /dev/null')
    hand(way, delivery(2, "$(touch${IFS}evil)@people.example"))
    hand(way, delivery(2, "-oQ/tmp@people.example"))
    assert not (tmp_path / "evil").exists()
    assert (tmp_path / "words").read_text().splitlines()[-2:] == ["--", "-oQ/tmp@people.example"]


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, S), (65, F), (67, F), (68, F), (69, F), (73, D), (75, D),
        (1, U), (2, U), (70, U), (71, U), (74, U), (76, U), (126, U), (127, U), (255, U),
    ],
)  # fmt: skip
def test_what_an_exit_code_means(program, code, state):
    commits: list[Delivery] = []
    way = program(f"cat > /dev/null; echo said so; exit {code}", before_commit=commits.append)
    outcome = hand(way, delivery(2))
    assert outcome.state is state
    assert outcome.code == code
    assert "said so" in outcome.reply
    assert len(commits) == 1


@pytest.mark.parametrize("code", [64, 66, 72, 77, 78])
def test_a_program_that_cannot_work_stops_the_run_and_touches_no_row(program, code):
    way = program(f"echo account default not found; exit {code}")
    way.offer(delivery(2))
    with pytest.raises(CarrierError, match=rf"exit code {code}\): account default not found"):
        way.collect(0.0)
    assert [one.row for one in way.recall()] == [2]
    with pytest.raises(CarrierError):
        way.collect(0.0)


def test_a_program_that_dies_leaves_the_row_uncertain(program):
    assert "died of SIGKILL" in hand(way := program("kill -9 $$"), delivery(2)).reply
    assert way.room == 1


def test_three_unclear_ends_in_a_row_stop_the_run(program):
    way = program("exit 70")
    assert [hand(way, delivery(row)).state for row in (2, 3, 4)] == [U, U, U]
    assert way.room == 0
    with pytest.raises(CarrierError, match="3 times in a row"):
        way.collect(0.0)


def test_a_clear_end_between_starts_the_count_anew(program, tmp_path):
    way = program("cat > /dev/null; test -e good && exit 0; exit 70")
    for row in range(2, 8):
        (tmp_path / "good").touch() if row % 3 == 1 else (tmp_path / "good").unlink(missing_ok=True)
        assert hand(way, delivery(row)).state is (S if row % 3 == 1 else U)


def test_a_program_that_hangs_is_killed_with_its_children(program, tmp_path):
    way = program("sleep 60 & echo $! > child; echo still here; wait", deadline=2.0)
    began = time.monotonic()
    outcome = hand(way, delivery(2))
    assert time.monotonic() - began < 20
    assert outcome.state is U
    assert "not done in time" in outcome.reply
    assert "still here" in outcome.reply
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.02)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return False


def test_a_child_that_keeps_the_output_open_is_not_waited_for(program, tmp_path):
    way = program("cat > /dev/null; sleep 30 & echo $! > child; exit 0")
    began = time.monotonic()
    assert hand(way, delivery(2)).state is S
    assert time.monotonic() - began < 20
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_endless_output_neither_blocks_nor_fills_the_memory(program):
    way = program("cat > /dev/null; head -c 20000000 /dev/zero | tr '\\0' x; exit 0")
    outcome = hand(way, delivery(2))
    assert outcome.state is S
    assert len(outcome.reply) <= 500


def test_a_program_that_does_not_read_the_letter_is_judged_by_its_end(program):
    assert hand(program("exit 0"), delivery(2, text="x" * 70 + "\n" * 400_000)).state is S


def test_what_it_says_is_harmless_and_holds_no_secret_of_ours(program, monkeypatch):
    monkeypatch.setenv("MERGEPOST_PASSWORD", "Plant-3d")
    monkeypatch.setenv("OTHER", "kept")
    says = r"printf '\033]52;c;evil\007 \342\200\256'; printenv MERGEPOST_PASSWORD; printenv OTHER"
    way = program(f"cat > /dev/null; {says}; exit 75")
    outcome = hand(way, delivery(2))
    assert outcome.state is D
    assert "\x1b" not in outcome.reply
    assert "\u202e" not in outcome.reply
    assert "\\x1b" in outcome.reply
    assert "Plant-3d" not in outcome.reply
    assert "kept" in outcome.reply


# -t


def test_with_t_the_recipients_stand_in_the_letter_alone(program, tmp_path):
    way = program('cat > got; printf "%s\\n" "$@" > words', options=["-t"])
    assert hand(way, delivery(2, cc=["boss@people.example"])).state is S
    assert (tmp_path / "words").read_text().splitlines() == ["-t", "-i", "-f", "news@ada.example"]


def test_with_t_a_letter_with_bcc_is_refused_and_the_program_not_called(program, tmp_path):
    commits: list[Delivery] = []
    way = program("touch called", options=["-t"], before_commit=commits.append)
    outcome = hand(way, delivery(2, bcc=["quiet@people.example"]))
    assert outcome.state is F
    assert "leave -t out" in outcome.reply
    assert not commits
    assert not (tmp_path / "called").exists()


def test_with_t_nobody_beyond_the_envelope_is_reached(program, tmp_path):
    way = program("touch called", options=["-ti"])
    one = delivery(2, cc=["boss@people.example"])
    object.__setattr__(one, "envelope", Envelope("news@ada.example", ("r2@people.example",)))
    assert "must not reach" in hand(way, one).reply
    assert not (tmp_path / "called").exists()


# Missing


def test_a_missing_program_is_told_before_anything(tmp_path):
    with pytest.raises(ConfigError, match="there is no program no-such-thing"):
        Program(["no-such-thing", "-t"])
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    with pytest.raises(ConfigError, match="is not executable"):
        found([str(plain)])


def test_a_program_that_goes_away_leaves_the_row_waiting(program, tmp_path):
    commits: list[Delivery] = []
    way = program("exit 0", before_commit=commits.append)
    (tmp_path / "fake-sendmail").unlink()
    way.offer(delivery(2))
    with pytest.raises(CarrierError, match="cannot be started"):
        way.collect(0.0)
    assert [one.row for one in way.recall()] == [2]
    assert len(commits) == 1


def test_a_full_disk_lets_no_half_letter_go(program, tmp_path, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    commits: list[Delivery] = []
    way = program("touch called", before_commit=commits.append)
    monkeypatch.setattr("merge.program.tempfile.TemporaryFile", lambda: open("/dev/full", "w+b"))  # noqa: PTH123, SIM115 - stands for a file that the caller closes
    way.offer(delivery(2))
    with pytest.raises(CarrierError, match="No space left on device"):
        way.collect(0.0)
    assert [one.row for one in way.recall()] == [2]
    assert not commits
    assert not (tmp_path / "called").exists()


def test_a_script_for_an_interpreter_that_is_not_there(program, tmp_path):
    way = program("exit 0")
    (tmp_path / "fake-sendmail").write_text("#!/no/such/interpreter\n")
    way.offer(delivery(2))
    with pytest.raises(CarrierError, match="cannot be started"):
        way.collect(0.0)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from ways_kit import delivery
from merge.program import Program
way = Program([sys.argv[2]], lambda _: print("committed", flush=True))
way.offer(delivery(2))
way.collect(0.0)
"""


def test_a_run_that_is_killed_hands_over_the_whole_letter_or_none(tmp_path):
    """The program reads slowly, from a file: the death of its caller cannot cut the letter short."""
    path = tmp_path / "fake-sendmail"
    path.write_text(f"#!/bin/sh\ncd {tmp_path}\necho $$ > pid\nsleep 0.5\ncat > part\nmv part got\n")
    path.chmod(0o755)
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(HERE), str(path)], stdout=subprocess.PIPE, start_new_session=True
    )
    for _ in range(500):
        if (tmp_path / "pid").exists():
            break
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    out, _ = run.communicate()
    assert out == b"committed\n"
    for _ in range(200):
        if (tmp_path / "got").exists():
            break
        time.sleep(0.02)
    assert (tmp_path / "got").read_bytes() == delivery(2).content.replace(b"\r\n", b"\n")


# The real one


@pytest.fixture
def postfix(tmp_path: Path) -> Any:
    """The sendmail program of Postfix with a queue of its own, and what it has put into it."""
    sendmail = shutil.which("sendmail", path=f"{os.environ['PATH']}:/usr/sbin")
    postcat = shutil.which("postcat", path=f"{os.environ['PATH']}:/usr/sbin")
    if not sendmail or not postcat or os.geteuid() != 0:
        pytest.skip("Postfix is not installed here, or may not be tried by this user")
    for name in ("etc", "queue", "queue/maildrop", "queue/public", "queue/pid", "data"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o755)
    (tmp_path / "etc" / "master.cf").write_text("")
    (tmp_path / "etc" / "main.cf").write_text(
        f"""compatibility_level = 3.6
queue_directory = {tmp_path}/queue
data_directory = {tmp_path}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.b.example
inet_interfaces = 127.0.0.1
message_size_limit = 20000
"""
    )

    def queued() -> list[str]:
        paths = sorted((tmp_path / "queue" / "maildrop").iterdir())
        shown = [
            subprocess.run(
                [postcat, "-c", tmp_path / "etc", path], capture_output=True, text=True, check=True
            )
            for path in paths
        ]
        return [one.stdout for one in shown]

    return f"{sendmail} -C {tmp_path / 'etc'}", queued


def test_postfix_takes_exactly_the_envelope(postfix):
    command, queued = postfix
    way = Program(command.split())
    one = delivery(2, "-oQ@people.example", bcc=["quiet@people.example"], text="one\n.\ntwo\n")
    assert hand(way, one).state is S
    (message,) = queued()
    assert "sender: news@ada.example" in message
    recipients = [line.partition(": ")[2] for line in message.splitlines() if line.startswith("recipient: ")]
    assert recipients == ["-oQ@people.example", "quiet@people.example"]
    body = message.partition("*** MESSAGE CONTENTS")[2]
    assert "one\n.\ntwo\n" in body
    assert "quiet@" not in body


def test_postfix_reads_the_recipients_with_t(postfix):
    command, queued = postfix
    assert hand(Program(f"{command} -t".split()), delivery(2, cc=["boss@people.example"])).state is S
    (message,) = queued()
    recipients = {line.partition(": ")[2] for line in message.splitlines() if line.startswith("recipient: ")}
    assert recipients == {"r2@people.example", "boss@people.example"}


def test_postfix_says_why_it_takes_none(postfix):
    command, queued = postfix
    outcome = hand(Program(command.split()), delivery(2, text="too large\n" * 3000))
    assert outcome.state is D
    assert "message file too big" in outcome.reply
    assert not queued()


def test_exim_takes_exactly_the_envelope(tmp_path):
    roots = [Path(root) for root in os.environ.get("MERGEPOST_SERVERS", "").split(":") if root]
    places = [os.environ["PATH"], "/usr/sbin", *(str(root / "usr" / "sbin") for root in roots)]
    exim = shutil.which("exim4", path=":".join(places))
    if not exim or os.geteuid() != 0:
        pytest.skip("Exim is not installed here, or may not be tried by this user")
    (tmp_path / "spool").mkdir()
    configuration = tmp_path / "exim.conf"
    configuration.write_text(
        f"""primary_hostname = mail.b.example
spool_directory = {tmp_path}/spool
log_file_path = {tmp_path}/log_%slog
queue_only = true
exim_user = root
exim_group = root
never_users =
keep_environment =
qualify_domain = b.example
begin acl
begin routers
begin transports
begin retry
"""
    )
    way = Program([exim, "-C", str(configuration)])
    one = delivery(2, "-oQ@people.example", bcc=["quiet@people.example"], text="one\n.\ntwo\n")
    assert hand(way, one).state is S
    (head,) = (tmp_path / "spool" / "input").glob("*-H")
    (body,) = (tmp_path / "spool" / "input").glob("*-D")
    lines = head.read_text().splitlines()
    assert "<news@ada.example>" in lines
    count = lines.index("2")
    assert set(lines[count + 1 : count + 3]) == {"-oQ@people.example", "quiet@people.example"}
    assert not any("quiet@" in line for line in lines[count + 3 :])
    assert body.read_text().endswith("one\n.\ntwo\n")
