"""The doctor at a sender: what the DNS says, asked of a name server on loopback; each finding on its own."""

from __future__ import annotations

import base64
import time
from dataclasses import replace

import pytest
from accounts_kit import Manners, Zone, mail_server, name_server
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from merge.account import AccountSettings
from merge.account.providers import providers
from merge.clock import WallClock
from merge.doctor import examination as doctor
from merge.doctor.authenticity import Sender, examine
from merge.doctor.dns import NoAnswer, Resolver
from merge.doctor.examination import Wish
from merge.doctor.records import find_policy, read_key, rsa_bits
from merge.doctor.spf import read_spf
from merge.errors import UsageError
from merge.finding import Finding
from merge.fit import Sending

DOMAIN = "club.example"


def public(bits: int, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    key = rsa.generate_private_key(65537, max(bits, 1024)).public_key()
    return base64.b64encode(key.public_bytes(Encoding.DER, form)).decode()


# RSAPublicKey of 768 bits: libraries make none any more, but some are still in the DNS.
SHORT = base64.b64encode(b"\x30\x68\x02\x61\x00" + b"\xb5" * 96 + b"\x02\x03\x01\x00\x01").decode()
GOOD_KEY = public(2048)


def quoted(text: str) -> str:
    """A TXT record in master-file form: strings of at most 255 bytes (RFC 1035, 3.3)."""
    return " ".join(f'"{text[start : start + 250]}"' for start in range(0, len(text), 250))


def txt(*texts: str) -> tuple[str, ...]:
    return tuple(quoted(text) for text in texts)


GOOD: Zone = {
    (DOMAIN, "SOA"): ("ns.club.example. root.club.example. 1 1 1 1 1",),
    (DOMAIN, "MX"): ("100 backup.club.example.", "20 mail.club.example."),
    (DOMAIN, "TXT"): txt("some-site-verification=1", "v=spf1 ip4:192.0.2.0/28 include:_spf.google.com ~all"),
    ("_spf.google.com", "TXT"): txt("v=spf1 ip6:2001:db8::/32 ~all"),
    ("google._domainkey.club.example", "TXT"): txt(f"v=DKIM1; k=rsa; p={GOOD_KEY}"),
    ("_dmarc.club.example", "TXT"): txt("v=DMARC1; p=reject; rua=mailto:x@club.example"),
    ("mail.club.example", "A"): ("192.0.2.7",),
    ("other.club.example", "A"): ("198.51.100.7",),
    ("7.2.0.192.in-addr.arpa", "PTR"): ("mail.club.example.",),
    ("7.100.51.198.in-addr.arpa", "PTR"): ("customer-7.isp.example.",),
}
WORKSPACE = Sender(DOMAIN, "smtp.gmail.com", providers()["workspace"])
OWN = Sender(DOMAIN, "mail.club.example")
SERVICE = Sender(DOMAIN, "in-v3.mailjet.com", providers()["mailjet"])


def zone(**changes: tuple[str, ...] | None) -> Zone:
    """The good zone with some records changed; None takes a record away. NAME_TYPE, with @ for the domain."""
    names = {
        "mx": (DOMAIN, "MX"), "txt": (DOMAIN, "TXT"), "dmarc": ("_dmarc.club.example", "TXT"),
        "key": ("google._domainkey.club.example", "TXT"), "google": ("_spf.google.com", "TXT"),
    }  # fmt: skip
    changed = dict(GOOD)
    for name, records in changes.items():
        changed.pop(names[name])
        if records is not None:
            changed[names[name]] = records
    return changed


def found(sender: Sender, records: Zone = GOOD) -> list[Finding]:
    with name_server(records) as address:
        return examine(sender, Resolver(address))


def one(findings: list[Finding], topic: str, grade: str = "") -> Finding:
    chosen = [finding for finding in findings if finding.topic == topic and grade in ("", finding.grade)]
    assert len(chosen) == 1, findings
    return chosen[0]


def test_a_good_sender_gets_a_good_report():
    findings = found(WORKSPACE)
    assert [(finding.topic, finding.grade) for finding in findings] == [
        ("mx", "ok"), ("spf", "ok"), ("dkim", "ok"), ("dmarc", "ok"),
    ]  # fmt: skip
    assert one(findings, "mx").message == "club.example takes mail at mail.club.example"
    assert one(findings, "dkim").message.endswith("is there (2048 bits)")
    assert one(findings, "dmarc").message == "club.example has a DMARC policy (p=reject)"


FINDINGS = [
    ("no domain", replace(WORKSPACE, domain="nowhere.example"), {}, "domain", "warning", "does not exist"),
    ("null MX", WORKSPACE, {"mx": ("0 .",)}, "mx", "warning", "takes no mail at all"),
    ("no MX", WORKSPACE, {"mx": None}, "mx", "warning", "has no mail server"),
    ("no SPF", WORKSPACE, {"txt": txt("something else")}, "spf", "warning", "has no SPF record"),
    ("no TXT", WORKSPACE, {"txt": None}, "spf", "warning", "has no SPF record"),
    ("SPF of another", WORKSPACE, {"txt": txt("v=spf1 mx -all")}, "spf", "warning", "does not name Google"),
    ("two SPF", WORKSPACE, {"txt": txt("v=spf1 -all", "v=spf1 a -all")}, "spf", "warning", "2 SPF records"),
    ("open SPF", OWN, {"txt": txt("v=spf1 mx +all")}, "spf", "warning", "lets the whole world send"),
    ("open SPF unsigned", OWN, {"txt": txt("v=spf1 mx all")}, "spf", "warning", "whole world"),
    ("odd term", OWN, {"txt": txt("v=spf1 ipv4:192.0.2.7 -all")}, "spf", "warning", "is no term"),
    ("odd network", OWN, {"txt": txt("v=spf1 ip4:192.0.2.700 -all")}, "spf", "warning", "is no network"),
    ("include of nothing", OWN, {"google": None}, "spf", "warning", "which has no SPF record"),
    (
        "SPF without the server", replace(OWN, host="other.club.example"), {}, "spf", "warning",
        "does not name the addresses of other.club.example",
    ),
    (
        "SPF with a macro", replace(OWN, host="other.club.example"),
        {"txt": txt("v=spf1 exists:%{i}.x.example ~all")}, "spf", "note", "does not name the addresses",
    ),
    ("no name", replace(OWN, host="other.club.example"), {}, "ptr", "note", "no name that leads back"),
    ("a name", OWN, {}, "ptr", "ok", "have names that lead back"),
    ("SPF from loopback", replace(OWN, host="localhost"), {}, "spf", "note", "cannot be told from here"),
    ("no key at a service", SERVICE, {"key": None}, "dkim", "warning", "no DKIM key of club.example"),
    ("no key elsewhere", OWN, {"key": None}, "dkim", "note", "no DKIM key of club.example was found"),
    ("told selector", replace(OWN, selectors=("x1",)), {}, "dkim", "warning", "no DKIM key at x1._domainkey"),
    ("revoked key", WORKSPACE, {"key": txt("v=DKIM1; p=")}, "dkim", "warning", "is revoked"),
    ("short key", WORKSPACE, {"key": txt(f"p={SHORT}")}, "dkim", "warning", "has only 768 bits"),
    ("old key", WORKSPACE, {"key": txt(f"p={public(1024)}")}, "dkim", "note", "has 1024 bits"),
    ("key under test", WORKSPACE, {"key": txt(f"t=y:s; p={GOOD_KEY}")}, "dkim", "note", "marked as a test"),
    ("ed25519", WORKSPACE, {"key": txt("k=ed25519; p=AAAA")}, "dkim", "ok", "is there"),
    ("no DMARC", WORKSPACE, {"dmarc": None}, "dmarc", "warning", "has no DMARC policy"),
    ("two DMARC", WORKSPACE, {"dmarc": txt("v=DMARC1;", "v=DMARC1; p=none")}, "dmarc", "warning", "has no"),
    ("odd DMARC", WORKSPACE, {"dmarc": txt("v=DMARC1; p=drop")}, "dmarc", "warning", "is not valid: p=drop"),
    (
        "DMARC that nothing meets", OWN, {"txt": txt("v=spf1 -all"), "key": None}, "dmarc", "warning",
        "receivers will refuse these letters",
    ),
    (
        "quarantine that nothing meets", SERVICE, {"key": None, "dmarc": txt("v=DMARC1;p=quarantine")},
        "dmarc", "warning", "put into the spam folder",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sender", "changes", "topic", "grade", "words"),
    [case[1:] for case in FINDINGS],
    ids=[case[0] for case in FINDINGS],
)
def test_each_fault_has_its_finding_and_what_to_do(sender, changes, topic, grade, words):
    findings = [f for f in found(sender, zone(**changes)) if f.topic == topic and words in f.message]
    assert [finding.grade for finding in findings] == [grade]
    assert findings[0].hint or grade == "ok"


def test_the_short_key_is_what_it_says():
    assert rsa_bits(SHORT) == 768


@pytest.mark.parametrize("bits", [1024, 2048, 3072])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_the_size_of_a_key_is_read_from_both_its_forms(bits, form):
    assert rsa_bits(public(bits, form)) == bits


@pytest.mark.parametrize(
    "text", ["", "!!", "AA", "MIIB", base64.b64encode(b"\x30\x84\xff\xff\xff\xff").decode()]
)
def test_a_broken_key_has_no_size(text):
    assert rsa_bits(text) is None
    assert read_key("s", f"p={text}").bits is None


def test_an_include_need_not_be_the_first_level():
    nested = {**zone(txt=txt("v=spf1 include:all.club.example -all")),
              ("all.club.example", "TXT"): txt("v=spf1 include:_spf.google.com ?all")}  # fmt: skip
    assert one(found(WORKSPACE, nested), "spf").grade == "ok"
    redirected = {**zone(txt=txt("v=spf1 redirect=_spf.google.com"))}
    assert one(found(WORKSPACE, redirected), "spf").grade == "ok"


def test_an_own_server_is_known_by_its_address_in_every_notation():
    for record in ("v=spf1 mx -all", "v=spf1 a:mail.club.example/29 ~all", "v=spf1 mx/28//64 -all"):
        assert one(found(OWN, zone(txt=txt(record))), "spf").message.endswith("names mail.club.example")


def test_more_than_ten_lookups_count_as_an_error():
    chain = {
        (f"s{number}.example", "TXT"): txt(f"v=spf1 include:s{number + 1}.example ~all")
        for number in range(10)
    }
    chain["s10.example", "TXT"] = txt("v=spf1 ip4:192.0.2.1 ~all")
    with name_server({**zone(txt=txt("v=spf1 include:s0.example ~all")), **chain}) as address:
        spf = read_spf(DOMAIN, Resolver(address))
    assert spf is not None
    assert spf.errors == ["it needs 11 DNS lookups; more than 10 count as an error"]
    ten = {**chain, ("s9.example", "TXT"): txt("v=spf1 ~all")}
    with name_server({**zone(txt=txt("v=spf1 include:s0.example ~all")), **ten}) as address:
        spf = read_spf(DOMAIN, Resolver(address))
    assert spf is not None
    assert spf.lookups == 10
    assert not spf.errors


def test_a_record_that_includes_itself_comes_to_an_end():
    records = {**zone(txt=txt("v=spf1 include:loop.example -all")),
               ("loop.example", "TXT"): txt("v=spf1 include:club.example include:loop.example")}  # fmt: skip
    with name_server(records) as address:
        spf = read_spf(DOMAIN, Resolver(address))
    assert spf is not None
    assert "more than 10 count as an error" in spf.errors[-1]


def test_the_policy_of_a_parent_holds_for_its_subdomains():
    news = {
        **GOOD,
        ("news.club.example", "SOA"): GOOD[DOMAIN, "SOA"],
        ("news.club.example", "MX"): ("10 mail.club.example.",),
        ("news.club.example", "TXT"): txt("v=spf1 -all"),
        ("_dmarc.club.example", "TXT"): txt("v=DMARC1; p=reject; sp=quarantine; adkim=s; aspf=s"),
    }
    with name_server(news) as address:
        assert find_policy("news.club.example", Resolver(address))[0] == DOMAIN
        findings = examine(
            replace(OWN, domain="news.club.example", host="other.club.example"), Resolver(address)
        )
    assert "p=quarantine" in one(findings, "dmarc").message


def test_an_address_of_a_mail_provider_goes_only_through_its_own_servers():
    own = examine(replace(WORKSPACE, domain="gmail.com", provider=providers()["gmail"]), None)
    assert [finding.grade for finding in own] == ["ok"]
    foreign = examine(replace(SERVICE, domain="gmail.com"), None)
    assert one(foreign, "sender").grade == "warning"
    assert "an address of Gmail, but the letters go out through another server" in foreign[0].message
    assert one(examine(replace(OWN, domain="yahoo.com"), None), "sender").grade == "warning"
    many = examine(Sender("gmail.com", "smtp.gmail.com", providers()["gmail"], rows=5000), None)
    assert one(many, "bulk").grade == "warning"


def test_a_large_list_is_held_to_the_rules_for_bulk_mail():
    assert not [f for f in found(replace(WORKSPACE, rows=4999)) if f.topic == "bulk"]
    assert one(found(replace(WORKSPACE, rows=5000, one_click=True)), "bulk").grade == "ok"
    warning = one(found(replace(WORKSPACE, rows=6000), zone(dmarc=None)), "bulk")
    assert warning.message == (
        "6,000 letters make a bulk sender (from 5,000 a day); missing: DMARC, unsubscribing with one click"
    )


def test_a_service_with_its_own_bounces_needs_no_spf_of_ours_but_a_key():
    records = {**zone(txt=None), ("mailjet._domainkey.club.example", "TXT"): txt(f"p={GOOD_KEY}")}
    findings = found(SERVICE, records)
    assert one(findings, "spf").grade == "note"
    assert one(findings, "dmarc").grade == "ok"


def test_who_has_a_server_that_does_not_sign_hears_of_another_way():
    zone = {name: texts for name, texts in GOOD.items() if "_domainkey" not in name[0]}
    assert "docs/signing.md" in one(found(OWN, zone), "dkim").hint
    assert "docs/signing.md" not in one(found(SERVICE, zone), "dkim").hint


def test_a_wildcard_is_no_key():
    records = {**GOOD, ("default._domainkey.club.example", "TXT"): txt("v=spf1 -all")}
    assert one(found(WORKSPACE, records), "dkim").grade == "ok"


def test_silence_is_told_once_and_soon():
    with name_server({}, silent=True) as address:
        began = time.monotonic()
        findings = examine(WORKSPACE, Resolver(address, seconds=0.3))
        assert time.monotonic() - began < 3
    assert [finding.grade for finding in findings] == ["note"]
    assert "--resolver 9.9.9.9" in findings[0].hint


def test_a_name_server_that_refuses_is_no_empty_answer():
    with name_server({}, rcode="SERVFAIL") as address:
        findings = examine(WORKSPACE, Resolver(address, seconds=1))
        with pytest.raises(NoAnswer, match=f"refuse to answer for {DOMAIN}"):
            Resolver(address, seconds=1).texts(DOMAIN)
    assert [finding.grade for finding in findings] == ["note"]


@pytest.mark.parametrize(
    "told", ["localhost", "9.9.9.9:0", "9.9.9.9:dns", "nonsense", "[::1", "1.2.3.4:99999"]
)
def test_a_resolver_is_an_address(told):
    with pytest.raises(UsageError, match="no address of a name server"):
        Resolver(told)


@pytest.mark.parametrize("told", ["9.9.9.9", "127.0.0.1:5353", "::1", "[::1]", "[::1]:5353"])
def test_an_address_is_a_resolver(told):
    Resolver(told)


def test_names_of_an_address_and_long_names():
    with name_server({("7.2.0.192.in-addr.arpa", "PTR"): ("mail.club.example.",)}) as address:
        resolver = Resolver(address)
        assert resolver.names("192.0.2.7") == ("mail.club.example",)
        assert resolver.names("192.0.2.8") == ()
        assert not resolver.exists("a" * 64 + ".example")
        assert resolver.texts("a..example") == ()


def test_the_whole_examination_asks_the_named_resolver_and_its_warnings_leave_the_exit_code():
    with name_server(zone(dmarc=None)) as address, mail_server(Manners()) as port:
        way = AccountSettings("work", "localhost", port, "none")
        wish = Wish(dns=Resolver(address))
        report = doctor.examine(
            way, clock=WallClock(), sending=Sending(f"ada@{DOMAIN}", 10), wish=wish
        )  # fmt: skip
    assert one(list(report.findings), "dmarc").grade == "warning"
    assert report.exit_code == 0


def test_a_server_that_keeps_everything_needs_no_dns():
    with mail_server(Manners()) as port:
        way = AccountSettings("try", "localhost", port, "none", profile=providers()["mailpit"])
        report = doctor.examine(way, clock=WallClock(), sending=Sending(f"ada@{DOMAIN}", 10))
    assert "nothing reaches the people" in one(list(report.findings), "sender").message


BACK = "back.example"
RETURNED: Zone = {
    **GOOD,
    (BACK, "SOA"): ("ns.back.example. root.back.example. 1 1 1 1 1",),
    (BACK, "MX"): ("10 mail.club.example.",),
    (BACK, "TXT"): txt("v=spf1 ip4:192.0.2.7 -all"),
}


def test_spf_is_asked_about_the_domain_that_bounces_go_to():
    sender = replace(OWN, return_path=BACK)
    assert (
        one(found(sender, RETURNED), "spf").message
        == "the SPF record of back.example names mail.club.example"
    )
    silent = found(sender, {**RETURNED, (BACK, "TXT"): txt("nothing")})
    assert one(silent, "spf", "warning").message == "back.example has no SPF record"
    assert "TXT record at back.example" in one(silent, "spf", "warning").hint
    gone = found(replace(OWN, return_path="nowhere.example"), RETURNED)
    assert "nowhere.example of return_path does not exist" in one(gone, "domain", "warning").message
    deaf = found(sender, {**RETURNED, (BACK, "MX"): ("0 .",)})
    assert "back.example says that it takes no mail" in one(deaf, "mx", "warning").message


@pytest.mark.parametrize(
    ("back", "policy", "matches"),
    [
        (BACK, "v=DMARC1; p=reject", False),
        ("bounces.club.example", "v=DMARC1; p=reject", True),
        ("bounces.club.example", "v=DMARC1; p=reject; aspf=s", False),
    ],
)
def test_spf_helps_dmarc_only_where_the_two_domains_belong_together(back, policy, matches):
    records = {
        **{name: texts for name, texts in RETURNED.items() if not name[0].startswith("google.")},
        (back, "SOA"): ("ns.example. root.example. 1 1 1 1 1",),
        (back, "MX"): ("10 mail.club.example.",),
        (back, "TXT"): txt("v=spf1 ip4:192.0.2.7 -all"),
        ("_dmarc.club.example", "TXT"): txt(policy),
    }
    finding = one(found(replace(OWN, return_path=back), records), "dmarc")
    assert finding.grade == ("ok" if matches else "warning")


def test_a_service_that_takes_bounces_itself_is_judged_by_the_from_domain():
    assert "club.example has an SPF record" in one(found(replace(SERVICE, return_path=BACK)), "spf").message
