"""The shape of the project: imports point one way, and each outside library enters through its own door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("service", "training", "benchmarks", "tests")
SOURCES = sorted(path for folder in ("service", "training") for path in (ROOT / folder).rglob("*.py"))

# Outside library -> the modules that may import it. A folder stands for everything in it.
DOORS = {
    "alembic": ("service.label_queue",),
    "bentoml": ("service.app", "service.bundles.bundle_store"),
    "click": ("service.app",),
    "h11": ("service.image_fetch",),
    "jinja2": ("training.page",),
    "lightgbm": ("training.members.trees",),
    "matplotlib": ("training.plots",),
    "onnx": ("training.export",),
    "onnxruntime": ("service.ensemble",),
    "PIL": ("service.features.image", "training.demo.pictures"),
    "prometheus_client": ("service.telemetry.registry",),
    "psycopg": ("service.label_queue",),
    "pybase64": ("service.api.product_reader",),
    "pyarrow": (
        "training.catalogues.tables",
        "training.scoring.scored_table",
        "training.demo.catalogue",
    ),
    "rich": ("training.console",),
    "simplejpeg": ("service.features.jpeg",),
    "sqlalchemy": ("service.label_queue",),
    "typer": ("training.cli", "training.commands"),
}
COMPOSITION_ROOTS = {
    "service.app",
    "service.launch",
    "service.label_queue.migrate",
    "training.cli",
    "training.commands.workplace",
}
NEVER_IN_SERVICE = {
    "torch",
    "sklearn",
    "scipy",
    "onnx",
    "lightgbm",
    "pyarrow",
    "matplotlib",
    "typer",
    "rich",
    "training",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_every_outside_library_enters_through_its_door(path: Path) -> None:
    name = module_name(path)

    breaches = {
        top
        for top in (imported.partition(".")[0] for imported in imports(path))
        if top in DOORS and not any(name == door or name.startswith(door + ".") for door in DOORS[top])
    }

    assert not breaches, f"{name} imports {breaches}: go through {[DOORS[top] for top in breaches]}"


@pytest.mark.parametrize("path", [p for p in SOURCES if module_name(p).startswith("service")], ids=module_name)
def test_service_imports_nothing_of_training(path: Path) -> None:
    assert not {imported.partition(".")[0] for imported in imports(path)} & NEVER_IN_SERVICE


def test_no_module_imports_itself_in_a_circle() -> None:
    names = {module_name(path) for path in SOURCES}
    graph = {module_name(path): set(imports(path)) & names - {module_name(path)} for path in SOURCES}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_the_environment_is_read_where_a_process_is_composed_and_nowhere_else() -> None:
    readers = {
        module_name(path)
        for path in SOURCES
        if any(
            isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }

    assert readers <= COMPOSITION_ROOTS


def test_the_service_loads_neither_torch_nor_scikit_learn() -> None:
    program = (
        "import sys, service.app; "
        "print(sorted({'torch', 'sklearn', 'scipy', 'onnx', 'lightgbm', 'training'} & set(sys.modules)))"
    )

    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def stands_for_something(reference: str) -> bool:
    """Whether a dotted name is a module or a folder of ours, or a name that stands in one."""
    path = ROOT.joinpath(*reference.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    return module.is_file() and bool(re.search(rf"\b{path.name}\b", module.read_text()))


def test_every_module_that_code_or_documents_refer_to_exists() -> None:
    sources = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    dotted = re.compile(rf"(?:`|-m )((?:{'|'.join(OURS)})(?:\.(?!npz)\w+)+)[` \n]")  # training.npz is a file

    stale = {
        f"{path.relative_to(ROOT)}: {reference}"
        for path in (*sources, *documents)
        for reference in re.findall(dotted, path.read_text())
        if not stands_for_something(reference)
    }

    assert not stale


def test_every_file_that_documents_refer_to_exists() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = re.compile(rf"`((?:{'|'.join((*OURS, 'docs', 'k8s'))})/[\w/.-]+)`")

    stale = {
        f"{path.name}: {reference}"
        for path in documents
        for reference in re.findall(found, path.read_text())
        if not (ROOT / reference).exists()
    }

    assert not stale
