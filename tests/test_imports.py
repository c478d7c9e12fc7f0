"""Who may import whom, read from the source; and what an import or ``--help`` may load, seen in a fresh process."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("edge", "quantize", "devices")

# The rooms of each package, the top floor first; a module beside the rooms is one of its own. A room looks only downwards: at what
# stands on a lower floor, and, of the same package, at nothing on its own one.
FLOORS = {
    "edge": (
        "__main__",
        "cli",
        "commands",
        "report",
        "history live predict project validation",
        "bench",
        "runtime",
        "artefact data",
        "numbers system",
        "files progress report_schema",
        "errors interrupt schema terminal version",
    ),
    "quantize": (
        "commands",
        "shipping",
        "demo shrinking",
        "analyse qat",
        "ptq",
        "calibrate",
        "reference tflite",
        "fetch loading runtimes",
        "tf_private",
        "quiet variants",
        "errors",
    ),
    "devices": (
        "commands",
        "measure",
        "fleet",
        "virtual",
        "rollout",
        "doctor",
        "predict transport",
        "boards edgetpu",
        "errors findings jsontext links manifests onboard op_list origin own_python texts",
    ),
}

# What other packages may import of `devices`: facts, and functions over plain data. What these import in turn is held to the
# same rule: nothing that touches files, processes or the network.
LEAVES = {
    *(f"devices.{name}" for name in ("errors", "findings", "jsontext", "manifests", "op_list", "origin", "texts")),
    *("devices.boards.coral_end", "devices.boards.detect", "devices.boards.own_boards"),
    *("devices.boards.profiles", "devices.boards.records", "devices.boards.target_names", "devices.boards.throttling"),
    *(f"devices.edgetpu.{name}" for name in ("compilation", "log", "mapping", "memory", "ops", "rules", "seen")),
    *(f"devices.predict.{name}" for name in ("advice", "core_costs", "fit", "footprint")),
    *(f"devices.predict.{name}" for name in ("interpreters", "latency", "op_work", "resize")),
}
# And what else they may import of it: functions that look at files of the user's and do nothing else, which both sides need alike.
READERS = {"devices.boards.board_files", "devices.links"}
DOES_IO = {"io", "os", "pathlib", "select", "shutil", "socket", "subprocess", "sys", "tempfile", "threading", "urllib"}
INTERPRETERS = {"ai_edge_litert", "tflite_runtime"}
ONLY_READS = {"io", "os", "pathlib"}
HEAVY = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization", "scipy", "sklearn", "h5py"}
ALLOWED = {
    "edge": {"numpy", "PIL"},
    "quantize": {"numpy", "PIL", "flatbuffers", "google", *HEAVY},  # google.protobuf comes with TensorFlow
    "devices": set[str](),
}
# One module each: the only place where this may be imported.
ONLY_IN = {
    **dict.fromkeys(INTERPRETERS, "edge.runtime.interpreter"),
    **dict.fromkeys(("jinja2", "markupsafe", "vl_convert"), "edge.report.page"),
    "cv2": "edge.live.video",
    "shtab": "edge.commands.workstation.completion",
    "litert_quantizer": "quantize.tflite.recipe",
    "sklearn": "quantize.demo",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import statement: ``module`` is absolute, ``relative`` tells how it was written."""

    importer: str
    module: str
    line: int
    relative: bool
    types_only: bool = False

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}"


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[Import]:
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    types = {id(inner) for node in guarded for part in node.body for inner in ast.walk(part)}
    for node in ast.walk(tree):
        only = id(node) in types
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer=importer, module=alias.name, line=node.lineno, relative=False, types_only=only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from . import profiles` and `from devices import profiles` import a module, other names are inside one.
                inner = f"{base}.{alias.name}"
                module = inner if is_module(inner) else base
                yield Import(importer=importer, module=module, line=node.lineno, relative=bool(node.level), types_only=only)


def is_module(name: str) -> bool:
    path = REPOSITORY.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@cache
def all_imports() -> list[Import]:
    return [found for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py")) for found in imports_of(path)]


def is_allowed(found: Import) -> bool:
    importer = found.importer.partition(".")[0]
    if found.root in sys.stdlib_module_names:
        return True
    if found.root in ONLY_IN:
        return found.importer == ONLY_IN[found.root]
    if found.root == importer:
        return True
    if found.root == "devices":
        return found.module in LEAVES | READERS
    if found.root == "edge":
        return importer == "quantize"
    return found.root in ALLOWED[importer]


def test_packages_import_only_what_the_architecture_allows() -> None:
    found = all_imports()
    assert len(found) > 100
    assert [str(item) for item in found if not is_allowed(item)] == []


def test_the_leaves_of_devices_do_no_io() -> None:
    found = [item for item in all_imports() if item.importer.startswith("devices")]
    leaves, reached = LEAVES | READERS, set[str]()
    while leaves != reached:
        reached = set(leaves)
        leaves |= {item.module for item in found if item.importer in reached and item.root == "devices"} - {"devices"}
    assert {"devices.boards.profiles", "devices.boards.raspberry_pi"} <= leaves
    allowed = {importer: ONLY_READS for importer in READERS}
    does = [item for item in found if item.importer in leaves and item.root in DOES_IO - allowed.get(item.importer, set())]
    assert [str(item) for item in does] == []


def test_the_check_itself_refuses_what_it_should() -> None:
    def refused(importer: str, module: str) -> bool:
        return not is_allowed(Import(importer=importer, module=module, line=1, relative=False))

    assert refused("edge.runtime.model", "tensorflow")
    assert refused("edge.runtime.model", "quantize.load")
    assert refused("edge.runtime.model", "devices.commands.boards")
    assert refused("edge.runtime.golden", "ai_edge_litert.interpreter")
    assert refused("devices.commands.boards", "edge.errors")
    assert refused("devices.boards.records", "numpy")
    assert refused("quantize.ptq", "devices.boards.coral")
    assert refused("quantize.load", "torch")
    assert not refused("edge.runtime.interpreter", "ai_edge_litert.interpreter")
    assert not refused("quantize.ptq", "edge.artefact.container")
    assert not refused("edge.check", "devices.boards.profiles")


def test_inside_a_package_imports_are_relative() -> None:
    own = [found for found in all_imports() if found.root == found.importer.partition(".")[0] and not found.relative]
    assert [str(found) for found in own] == []


def test_the_interpreter_is_not_imported_by_name_elsewhere() -> None:
    places = []
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
                if is_text and node.value.split(".")[0] in INTERPRETERS:  # type: ignore[attr-defined]
                    places.append(module_name(path))
    assert set(places) <= {"edge.runtime.interpreter", "edge.cli"}


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def floors() -> dict[str, int]:
    """Each room with its floor, counted from the top."""
    return {
        f"{package}.{name}": floor
        for package, names in FLOORS.items()
        for floor, together in enumerate(names)
        for name in together.split()
    }


def room_graph() -> dict[tuple[str, str], list[Import]]:
    """Which room looks into which, and by which imports: those inside functions too. What a package exports is not a look."""
    looks: dict[tuple[str, str], list[Import]] = {}
    for found in all_imports():
        inside = found.root == found.importer.partition(".")[0] and found.module != found.root and "." in found.importer
        if inside and room(found.importer) != room(found.module):
            looks.setdefault((room(found.importer), room(found.module)), []).append(found)
    return looks


def drawn(looks: dict[tuple[str, str], list[Import]]) -> str:
    lines = []
    for package, names in FLOORS.items():
        for together in names:
            for name in together.split():
                below = sorted(to.partition(".")[2] for of, to in looks if of == f"{package}.{name}")
                lines.append(f"{package}.{name} -> {', '.join(below) or '-'}")
    return "\n".join(lines)


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return one way that leads back to its start, or nothing."""
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for further in sorted(graph.get(name, ())):
            if found := walk(further, (*way, name)):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, ()))), [])


def test_every_room_stands_on_a_floor() -> None:
    there = {
        f"{package}.{path.stem}"
        for package in PACKAGES
        for path in (REPOSITORY / package).iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }
    assert there == set(floors())


def test_rooms_look_only_downwards() -> None:
    looks, floor = room_graph(), floors()
    assert len(looks) > 50
    upwards = [str(found) for (of, to), by in looks.items() if floor[to] <= floor[of] for found in by]
    assert upwards == [], f"not downwards: {upwards}\n\nwho looks into whom:\n{drawn(looks)}"


def test_no_imports_go_in_a_circle() -> None:
    """Those inside functions count too; what only a type checker reads does not, as it never runs."""
    graph: dict[str, set[str]] = {}
    for found in all_imports():
        if found.root in PACKAGES and found.module not in PACKAGES and not found.types_only and found.module != found.importer:
            graph.setdefault(found.importer, set()).add(found.module)
    found_circle = circle_in(graph)
    assert found_circle == [], f"{' -> '.join(found_circle)}\n\nwho looks into whom:\n{drawn(room_graph())}"


def test_a_circle_would_be_found() -> None:
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}}) == ["b", "c", "b"]


def test_rooms_stay_small() -> None:
    """A dozen files at the door of each package, and about twenty in a room."""
    counts = {
        str(folder.relative_to(REPOSITORY)): sum(path.is_file() for path in folder.iterdir())
        for package in PACKAGES
        for folder in (REPOSITORY / package, *(path.parent for path in (REPOSITORY / package).rglob("__init__.py")))
    }
    assert {name: count for name, count in counts.items() if count > (12 if name in PACKAGES else 22)} == {}


def test_every_room_says_what_it_is_for() -> None:
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path}: who comes in here, and what for?"


def test_there_is_no_package_below_tests() -> None:
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_modules_stay_small(folder: str) -> None:
    paths = list((REPOSITORY / folder).rglob("*.py"))
    lengths = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert lengths and {name: lines for name, lines in lengths.items() if lines > 400} == {}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh process has after running ``code``."""
    script = f"import sys, json\n{code}\nprint('loaded', json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.rpartition("loaded ")[2]))


def test_import_edge_loads_nothing_heavy() -> None:
    assert loaded_by("import edge") & {"numpy", "PIL", *INTERPRETERS, *HEAVY} == set()


def test_import_quantize_loads_no_tensorflow() -> None:
    assert loaded_by("import quantize") & (HEAVY | INTERPRETERS) == set()


def test_import_devices_loads_nothing_but_the_standard_library() -> None:
    loaded = loaded_by("import devices.boards.profiles, devices.commands.boards")
    assert loaded & {"numpy", "PIL", "edge", "quantize", *INTERPRETERS, *HEAVY} == set()


def test_help_of_every_command_loads_no_tensorflow() -> None:
    code = (
        "from edge.cli import COMMANDS, main\n"
        "for argv in [['--help'], *([name, '--help'] for name in COMMANDS)]:\n"
        "    try:\n"
        "        main(argv)\n"
        "    except SystemExit as left:\n"
        "        assert left.code == 0, argv\n"
        "    else:\n"
        "        raise AssertionError(argv)\n"
    )
    assert loaded_by(code) & (HEAVY | INTERPRETERS) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []
    assert set(names) <= set(dir(module))
