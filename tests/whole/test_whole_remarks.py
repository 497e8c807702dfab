"""An address that is one may still be a slip: it is told, and sent."""

from __future__ import annotations

from merge import Campaign


def test_a_likely_slip_in_an_address_is_a_warning(tmp_path):
    (tmp_path / "people.csv").write_text("email\nann@gmial.com\nbob@example.com\n", "utf-8")
    (tmp_path / "letter.txt").write_text("Subject: Hi\n\nHello\n", "utf-8")
    (tmp_path / "campaign.toml").write_text(
        'list = "people.csv"\nletter = "letter.txt"\nfrom = "a@ada.example"\n', "utf-8"
    )
    [problem] = Campaign.load(tmp_path).check()
    assert (problem.severity, problem.kind, problem.row) == ("warning", "address", 2)
    assert "gmail.com" in problem.message
