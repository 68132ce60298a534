"""The house rules as functions: source text in, findings out. The tests run them over the tree."""

import ast
import re
from collections.abc import Iterator
from typing import Final

FILE_LINES_MAX: Final = 400
FUNCTION_LINES_MAX: Final = 70

#: What pure code must not touch, and what to use instead. A name covers all that is below it.
BANNED_IN_PURE: Final = {
    "time": "take the time as an argument (event time in ms)",
    "datetime.datetime.now": "take the time as an argument (event time in ms)",
    "datetime.datetime.utcnow": "take the time as an argument (event time in ms)",
    "datetime.datetime.today": "take the time as an argument (event time in ms)",
    "datetime.date.today": "take the time as an argument (event time in ms)",
    "random": "take a seeded numpy Generator as an argument",
    "secrets": "take a seeded numpy Generator as an argument",
    "uuid": "build ids from the source topic, partition and offset",
    "numpy.random.seed": "take a seeded numpy Generator as an argument",
    "numpy.random.rand": "take a seeded numpy Generator as an argument",
    "numpy.random.random": "take a seeded numpy Generator as an argument",
    "numpy.random.randint": "take a seeded numpy Generator as an argument",
    "numpy.random.normal": "take a seeded numpy Generator as an argument",
    "os": "take the value as an argument; settings are read in streamapp.cli",
    "sys": "return a value or raise; streamapp.cli talks to the terminal",
    "open": "take bytes as an argument; only streamapp.scoring.artifact reads files",
    "pathlib": "take bytes as an argument; only streamapp.scoring.artifact reads files",
    "io": "take bytes as an argument; only streamapp.scoring.artifact reads files",
    "tempfile": "take bytes as an argument; only streamapp.scoring.artifact reads files",
    "print": "return the value; streamapp.cli prints",
    "input": "take the value as an argument; streamapp.cli asks",
    "logging": "return what happened as a value; the shell logs it",
    "structlog": "return what happened as a value; the shell logs it",
    "warnings": "return what happened as a value; the shell logs it",
    "threading": "stay single-threaded; the engine owns concurrency",
    "multiprocessing": "stay single-threaded; the engine owns concurrency",
    "concurrent": "stay single-threaded; the engine owns concurrency",
    "asyncio": "stay synchronous; the engine owns the event loop",
    "socket": "no network in the core; put the adapter in streamapp.sinks or streamapp.kafka",
    "subprocess": "no processes in the core; put the adapter in streamapp.broker",
}

#: What no package may touch.
BANNED_EVERYWHERE: Final = {
    "pickle": "write arrays and a JSON manifest; unpickling runs code",
    "joblib": "write arrays and a JSON manifest; unpickling runs code",
    "marshal": "write arrays and a JSON manifest",
    "shelve": "write arrays and a JSON manifest; unpickling runs code",
    "eval": "parse the text with a parser of its own",
    "exec": "parse the text with a parser of its own",
    "os.system": "subprocess.run with a list of arguments and a timeout",
    "time.sleep": "wait on a condition or an event, with a deadline",
}

VAGUE_NAME: Final = re.compile(r"(?i)(^|_)(util|utils|helper|helpers|common|manager|managers)$")
VAGUE_CLASS: Final = re.compile(r"(Utils?|Helpers?|Common|Manager)$")
MARKER: Final = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
REGISTRY_HOST: Final = re.compile(
    r"py"
    r"pi\.org|pythonhosted\.org|npmjs\.(org|com)|repo1?\.maven\.|deb\.debian\.org"
    r"|crates\.io|proxy\.golang\.org|--(extra-)?index-url|--find-links|PIP_FIND_LINKS"
)
MACHINE_PATH: Final = re.compile(r"(?<![\w.~$}/-])/(root|work|home|Users|opt/wheels)/")


def long_functions(source: str) -> list[str]:
    """Functions over the limit, as `name: lines`."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    return [f"{name}: {lines}" for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX]


def banned_uses(source: str, banned: dict[str, str]) -> list[str]:
    """Uses of banned modules, functions and builtins, each with what to use instead."""
    tree = ast.parse(source)
    imported = _imported_names(tree)
    uses = set(_import_statements(tree)) | set(_dotted_uses(tree, imported))
    return [
        f"line {line}: {name}: {banned[rule]}"
        for line, name in sorted(uses)
        if (rule := _rule_for(name, banned))
    ]


def vague_classes(source: str) -> list[str]:
    """Classes whose name says nothing of what they do."""
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and VAGUE_CLASS.search(node.name)
    ]


def imported_modules(source: str, known: set[str], package: str) -> set[str]:
    """Modules out of `known` that a module inside `package` imports, or names as an entry point."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            found.add(node.value.split(":")[0])
    return found & known


def _imported_names(tree: ast.AST) -> dict[str, str]:
    """Local name → the dotted name it stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _import_statements(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _dotted_uses(tree: ast.AST, imported: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Dotted names used, with aliases resolved; builtins only where they are called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            root, _, rest = dotted.partition(".")
            if root in imported:
                yield node.lineno, f"{imported[root]}.{rest}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.lineno, imported.get(node.func.id, node.func.id)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _rule_for(name: str, banned: dict[str, str]) -> str | None:
    return next((rule for rule in banned if name == rule or name.startswith(f"{rule}.")), None)
