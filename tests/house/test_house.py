"""The map of docs/design.md holds: every room on its floor, imports only downwards, and the nevers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "merge"
ROW = re.compile(r"^\| (\d+) \| `([a-z_/]+)` \| (.+?) \|$")

DOORS = ("", "smtp")
"""The package itself, and the wing whose modules are rooms of their own."""


def floors() -> dict[str, int]:
    """Read the map: room name, with dots, to floor."""
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    rows = (ROW.match(line) for line in text.splitlines())
    return {row[2].replace("/", "."): int(row[1]) for row in rows if row}


def modules() -> Iterator[tuple[str, Path]]:
    """Yield each module of the package as (name below merge, path)."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def room_of(module: str, known: dict[str, int]) -> str:
    """Return the room that a module belongs to: itself, or the wing that is one room."""
    while module and module not in known:
        module = module.rpartition(".")[0]
    return module


def is_module(name: str) -> bool:
    """Tell a module of the package from a name inside one."""
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports(path: Path) -> Iterator[str]:
    """Yield every imported module, late and typing-only imports included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if is_module(name) else str(node.module)


def edges() -> Iterator[tuple[str, str]]:
    """Yield each import between two rooms."""
    known = floors()
    for module, path in modules():
        room = room_of(module, known)
        for name in imports(path):
            if name.startswith("merge."):
                target = room_of(name.removeprefix("merge."), known)
                if target and target != room:
                    yield room, target


def test_every_module_is_on_the_map_and_every_room_exists():
    known = floors()
    found = {module: room_of(module, known) for module, _ in modules() if module not in DOORS}
    assert not [module for module, room in found.items() if not room]
    assert set(known) == set(found.values())


def test_imports_run_downwards_only():
    known = floors()
    wrong = sorted(
        {f"{room} -> {target}" for room, target in edges() if room and known[room] <= known[target]}
    )
    assert not wrong


def test_no_module_imports_itself_by_a_detour():
    names = {module for module, _ in modules()}
    graph: dict[str, set[str]] = {}
    for module, path in modules():
        for name in imports(path):
            target = name.removeprefix("merge.")
            if name.startswith("merge.") and target in names and target != module:
                graph.setdefault(module, set()).add(target)
    for start, targets in graph.items():
        seen: set[str] = set()
        ahead = list(targets)
        while ahead:
            module = ahead.pop()
            if module not in seen:
                seen.add(module)
                ahead += graph.get(module, ())
        assert start not in seen, f"{start} is in a circle of imports"


def test_the_first_line_of_a_room_is_its_question():
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    questions = {m[2]: m[3] for line in text.splitlines() if (m := ROW.match(line))}
    for room, question in questions.items():
        path = PACKAGE / f"{room}.py"
        path = path if path.is_file() else PACKAGE / room / "__init__.py"
        told = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]
        assert told.startswith(question.split("?")[0]), (
            f"{room}: the map asks {question!r}, the room {told!r}"
        )


ONLY = {
    "socket": {"smtp.wire"},
    "ssl": {"smtp.wire"},
    "sqlite3": {"journal"},
    "pandas": {"table"},
    "numpy": {"table"},
    "jinja2": {"template"},
    "httpx": {"api"},
    "typer": {"cli"},
    "tqdm": {"console"},
    "tenacity": {"smtp.again"},
    "aiosmtpd": {"sandbox"},
    "python_calamine": {"table"},
    "imaplib": {"bounces"},
    "flufl": {"bounces"},
    "itsdangerous": {"unsubscribe"},
    "cryptography": {"dkim"},
    "dkim": {"doctor"},
    "dns": {"doctor"},
    "oauthlib": {"account"},
    "keyring": {"account"},
}


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_known_to_its_rooms_alone(library):
    known = floors()
    users = {
        room_of(module, known)
        for module, path in modules()
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= ONLY[library]


def test_only_the_clock_sleeps_or_measures():
    for module, path in modules():
        if module == "clock":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "time"
            ):
                assert node.attr not in ("sleep", "monotonic", "perf_counter"), f"{module}:{node.lineno}"


def test_the_courier_knows_neither_letters_nor_lines():
    known = floors()
    reached = {target for room, target in edges() if room == "courier"}
    assert not {room for room in reached if room.split(".")[0] in ("smtp", "template", "table", "config")}, (
        known
    )


def test_the_smtp_wing_stands_alone():
    outside = {
        target for room, target in edges() if room.startswith("smtp.") and not target.startswith("smtp.")
    }
    assert outside <= {"errors", "model"}


def test_the_preview_cannot_reach_a_carrier():
    reach: dict[str, set[str]] = {}
    for room, target in edges():
        reach.setdefault(room, set()).add(target)
    seen, ahead = set(), [room for room in reach if room.split(".")[0] == "preview"]
    while ahead:
        room = ahead.pop()
        if room not in seen:
            seen.add(room)
            ahead += reach.get(room, ())
    assert not {room for room in seen if room in ("smtp.session", "smtp.wire", "courier", "assemble")}


def test_nothing_imports_the_command_line():
    assert not [room for room, target in edges() if target == "cli"]


def test_files_stay_readable():
    reasons = set(re.findall(r"`([a-z_/]+\.py)` is longer", (ROOT / "docs" / "design.md").read_text("utf-8")))
    long = {
        str(path.relative_to(PACKAGE))
        for _, path in modules()
        if len(path.read_text("utf-8").splitlines()) > 450
    }
    assert long <= reasons
