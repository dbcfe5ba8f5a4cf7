"""The measures of STYLE that no linter holds: length, nesting, and what a process loads."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A migration is a list of statements; it is as long as the schema.
MODULES = sorted(
    path
    for folder in ("app", "worker", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "migrations" not in path.parts
)
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_NESTING = 3
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Lines from `def` to the end, without its docstring."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    docstring = function.body[0]
    return length - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def nesting(node: ast.AST) -> int:
    """How many blocks stand inside each other; `elif` is no deeper than its `if`."""
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            is_elif = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
            is_block = isinstance(child, BLOCKS) and not is_elif
            deepest = max(deepest, nesting(child) + is_block)
    return deepest


def test_modules_have_one_subject() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > MAX_MODULE_LINES} == {}


@pytest.mark.parametrize(
    ("measure", "limit"), [(body_lines, MAX_FUNCTION_LINES), (nesting, MAX_NESTING)]
)
def test_functions_are_short_and_flat(measure: Callable[[Function], int], limit: int) -> None:
    measured = {
        f"{name_of(path)}:{function.lineno} {function.name}": measure(function)
        for path in MODULES
        for function in functions(path)
    }
    assert {name: n for name, n in measured.items() if n > limit} == {}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("app.main", {"tensorflow", "keras", "numpy", "h5py", "tflite", "scipy", "pyarrow", "PIL"}),
        ("app.cli", {"tensorflow", "keras", "numpy", "h5py", "tflite", "scipy", "pyarrow", "PIL"}),
        ("worker.tasks", {"tensorflow", "keras", "ai_edge_litert"}),
    ],
)
def test_process_loads_no_heavy_package(module: str, heavy: set[str]) -> None:
    program = f"import sys, {module}; print(*sorted(sys.modules.keys() & {heavy}))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
