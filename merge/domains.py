"""Is this domain a slip of the keyboard?"""

from __future__ import annotations

from collections.abc import Iterator

WELL_KNOWN = frozenset(
    """
    126.com 163.com aol.com arcor.de att.net bigpond.com bluewin.ch bluewin.com bol.com.br
    btinternet.com comcast.net cox.net duck.com example.com example.net example.org fastmail.com
    fastmail.fm freenet.de gmail.com gmx.at gmx.ch gmx.com gmx.de gmx.net googlemail.com hotmail.be
    hotmail.co.uk hotmail.com hotmail.de hotmail.es hotmail.fr hotmail.it icloud.com interia.pl
    laposte.net libero.it live.co.uk live.com live.de live.fr live.nl mailbox.org msn.com naver.com
    onet.pl online.de optonline.net orange.fr outlook.com outlook.de outlook.es outlook.fr posteo.de
    proton.me protonmail.com rambler.ru rediffmail.com rocketmail.com sbcglobal.net seznam.cz sfr.fr
    sky.com t-online.de telenet.be tiscali.it ukr.net uol.com.br verizon.net virgilio.it wanadoo.fr
    yahoo.ca yahoo.co.in yahoo.co.jp yahoo.co.uk yahoo.com yahoo.com.au yahoo.com.br yahoo.de yahoo.es
    yahoo.fr yahoo.in yahoo.it yandex.com yandex.ru zoho.com
    """.split(),  # noqa: SIM905 - a list of words reads better than its quotes
)
"""Where very many people have their mail: what a slip most likely meant."""

_REAL_NEIGHBOURS = frozenset(
    """
    aim.com bol.com email.com fastmail.net gmx.eu gmx.fr gmx.org gmx.us hotmail.ca hotmail.ch hotmail.nl
    hotmail.se inbox.com live.at live.be live.ca live.ch live.cn live.ie live.in live.it live.jp live.no
    live.se mail.com mail.de mail.ru me.com myself.com online.fr online.no online.nl orange.com
    orange.es orange.pl outlook.at outlook.be outlook.cl outlook.co outlook.cz outlook.dk outlook.ie
    outlook.in outlook.it outlook.jp outlook.kr outlook.pt outlook.sa proton.ch sfr.com sky.de
    tiscali.cz uol.com yahoo.at yahoo.be yahoo.ch yahoo.cl yahoo.co yahoo.co.id yahoo.co.kr yahoo.co.nz
    yahoo.co.th yahoo.co.za yahoo.cz yahoo.dk yahoo.gr yahoo.hu yahoo.ie yahoo.nl yahoo.no yahoo.pl
    yahoo.pt yahoo.ro yahoo.se yandex.by yandex.kz yandex.ua ymail.com
    """.split(),  # noqa: SIM905 - a list of words reads better than its quotes
)
"""Domains one keystroke away from a well-known one that exist in their own right."""

_SHORTEST = 8
"""Below that many characters, one keystroke away means little: bbc.com is no slip for msn.com."""

_TOP_LEVEL_SLIPS = {
    **dict.fromkeys(("con", "cmo", "ocm", "comm", "cpm", "vom", "xom", "coom", "clm"), "com"),
    **dict.fromkeys(("nte", "ent", "nett"), "net"),
    **dict.fromkeys(("ogr", "rog", "orgg"), "org"),
}


def likely_domain(domain: str) -> str:
    """Return the domain that was probably meant, or an empty text.

    A well-known domain one keystroke away (a letter too many, too few, another, or two swapped), or the
    same domain under a top-level domain that exists (.con -> .com). `domain` is in lower case.
    """
    if domain in WELL_KNOWN or domain in _REAL_NEIGHBOURS:
        return ""
    name, _, top = domain.rpartition(".")
    slipped = f"{name}.{_TOP_LEVEL_SLIPS[top]}" if top in _TOP_LEVEL_SLIPS else ""
    if slipped in WELL_KNOWN:
        return slipped
    near = {
        known
        for key in _shortened(domain)
        for known in _BY_SHORTENED.get(key, ())
        if _one_slip(domain, known)
    }
    return min(near, default=slipped)


def _shortened(domain: str) -> Iterator[str]:
    """Yield the domain and each form of it with one character left out.

    Two words one keystroke apart have such a form in common, so that no known word need be tried in turn.
    """
    yield domain
    for position in range(len(domain)):
        yield domain[:position] + domain[position + 1 :]


def _one_slip(typed: str, meant: str) -> bool:
    """Whether one keystroke lies between two texts."""
    if len(typed) > len(meant):
        return _one_slip(meant, typed)
    start = next((i for i, (a, b) in enumerate(zip(typed, meant, strict=False)) if a != b), len(typed))
    rest, rest_meant = typed[start:], meant[start:]
    if len(typed) < len(meant):
        return rest == rest_meant[1:]
    swapped = rest[:2] == rest_meant[:2][::-1] and rest[2:] == rest_meant[2:]
    return swapped or rest[1:] == rest_meant[1:]


def _index() -> dict[str, tuple[str, ...]]:
    index: dict[str, tuple[str, ...]] = {}
    for known in WELL_KNOWN:
        if len(known) >= _SHORTEST:
            for key in _shortened(known):
                index[key] = (*index.get(key, ()), known)
    return index


_BY_SHORTENED = _index()
