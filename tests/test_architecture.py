"""Architecture of the package.

Imports go to lower rooms, stand at the top of a file, and form no circle. Functions have at most
nine arguments.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground floor up. Rooms of one floor do not import each other, but for `nets` and
# `transforms`, which share a floor: conditioners are networks, and masks come from maps.
FLOORS = [
    {"errors"},
    {"_atomic", "_boosting", "_checks", "_device", "_dtypes", "_memory", "_training_mode"},
    {"_container", "_noise"},
    {"estimators", "metrics"},
    {"nets", "transforms"},
    {"_threads", "distributions", "schema"},
    {"flows", "images", "tables", "testing", "training"},
    {"files", "gan", "tabular", "vae"},
    {"interop", "report"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
SHARED_FLOORS = ({"nets", "transforms"},)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

# Imported on first use: optional or heavy packages, and what is read by them alone.
HEAVY = {
    *("astropy", "duckdb", "lightning_fabric", "matplotlib", "pandas", "polars", "pyarrow"),
    *("rich", "scipy", "sklearn", "threadpoolctl", "torch", "shlex"),
}
LAZY = {
    # The command line must print its help without torch.
    ("flowkit.cli", "flowkit.commands.conditional"),
    ("flowkit.cli", "flowkit.commands.fit"),
    ("flowkit.cli", "flowkit.commands.impute"),
    ("flowkit.cli", "flowkit.commands.report"),
    ("flowkit.cli", "flowkit.commands.schema"),
    ("flowkit.cli", "flowkit.commands.use"),
    ("flowkit.cli", "flowkit.errors"),
    # Tables are read without torch.
    ("flowkit.schema.codec", "flowkit.transforms"),
    # One module per library or format, so that none is imported that a table does not need.
    ("flowkit.schema.frames", "flowkit.schema.arrow_columns"),
    ("flowkit.schema.frames", "flowkit.schema.arrow_tables"),
    ("flowkit.schema.frames", "flowkit.schema.pandas_columns"),
    ("flowkit.schema.frames", "flowkit.schema.polars_columns"),
    ("flowkit.tables.binary", "flowkit.tables.excel"),
    ("flowkit.tables.binary", "flowkit.tables.json_table"),
    ("flowkit.tables.binary", "flowkit.tables.science"),
    ("flowkit.tables.binary", "flowkit.tables.statistics_files"),
    ("flowkit.tables.table_file", "flowkit.tables.binary"),
    ("flowkit.tables.table_file", "flowkit.tables.text_table"),
    ("flowkit.tables.writing", "flowkit.tables.writing_extras"),
}

MOST_ARGUMENTS = 9
# Signatures that users read: each option stands there with its default.
FOR_READERS = {
    "flowkit.flows.architectures.nsf": "an architecture",
    "flowkit.training.fit.fit": "a public fit",
    "flowkit.vae.variational.fit_posterior": "a public fit",
    "flowkit.cli.fit": "the command line: one argument per option",
    "flowkit.commands.fit.fit": "the command line: one argument per option",
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "flowkit").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def imports(name: str, *, typing: bool = True) -> list[tuple[str, bool]]:
    """Return what a module imports, and whether it does so inside a function.

    Args:
        name: the module.
        typing: whether imports for the type checker alone count, as imports at the top.
    """
    found = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing:
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole if whole in MODULES else str(node.module), inside))
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(MODULES[name], False)
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", [n for n in MODULES if n != "flowkit"])
def test_imports_go_down(name):
    mine = room(name)
    assert mine in FLOOR, f"{mine} has no floor in this test"
    for other, _ in imports(name):
        if not other.startswith("flowkit.") or room(other) == mine:
            continue
        below = FLOOR[room(other)] < FLOOR[mine]
        shared = any({mine, room(other)} <= rooms for rooms in SHARED_FLOORS)
        assert below or shared, f"{name} imports {other} from a higher or equal floor"


@pytest.mark.parametrize("name", [n for n in MODULES if n != "flowkit"])
def test_imports_stand_at_the_top(name):
    for other, inside in imports(name):
        if inside and (name, other) not in LAZY:
            assert other.split(".")[0] in HEAVY, f"{name} imports {other} inside a function"


@pytest.mark.parametrize("typing", [False, True], ids=["at run time", "for the type checker too"])
def test_no_circle(typing):
    """But for the lazy imports above, as a module of one may need its caller's."""
    graph = {
        name: {
            other
            for other, _ in imports(name, typing=typing)
            if other in MODULES and other != name and (name, other) not in LAZY
        }
        for name in MODULES
        if name != "flowkit"
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_every_lazy_import_is_there():
    found = {(name, other) for name in MODULES for other, inside in imports(name) if inside}
    assert found >= LAZY


def test_the_fitted_model_of_a_table_is_used_through_the_estimator():
    """Command line and report have no back door to the parts of a `FlowDensity`."""
    doors = [
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "model_"
        if not name.startswith("flowkit.tabular.")
    ]
    assert not doors


def numbers_of_arguments() -> dict[str, int]:
    """Return the number of arguments of each function, but for ``self`` and ``cls``."""
    numbers = {}

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{name}.{child.name}"
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                arguments = child.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                number = sum(a.arg not in ("self", "cls") for a in every)
                number += (arguments.vararg is not None) + (arguments.kwarg is not None)
                numbers[inner] = max(number, numbers.get(inner, 0))
            visit(child, inner)

    for module, tree in MODULES.items():
        visit(tree, module)
    return numbers


def test_functions_have_at_most_nine_arguments():
    many = {name for name, number in numbers_of_arguments().items() if number > MOST_ARGUMENTS}
    allowed = set(FOR_READERS)
    assert not many - allowed, "too many arguments"
    assert not allowed - many, "no longer an exception: take it off the list"
