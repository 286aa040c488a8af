"""Finds the texts that production code logs at level warning or error, and those with which a process ends.

A part that is known only at run time is written as `…`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local.settings import ROOT

PACKAGES = ("common", "services", "gateway", "etl", "db", "local")
VARIABLE = "…"
# Texts with fewer letters only wrap another text.
LETTERS_MIN = 10
LEVELS = {"warning", "error", "exception", "critical"}
# The errors with which a process or a command ends, with their subclasses in the same package.
ENDING_ERRORS = {"LoaderStoppedError", "StoreError", "DescriptorError", "ProgramError"}
OUTAGE_CLASSES = {"Outage", "OutageLog"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Text:
    """A text and the line of code that has it."""

    text: str
    place: str


@cache
def operator_texts() -> list[Text]:
    """Return every warning, every error, and every text with which a process or a command ends."""
    packages = [modules(package) for package in PACKAGES]
    outages = [text for package in packages for module in package for text in module.arguments_of(OUTAGE_CLASSES)]
    found: list[Text] = []
    for package in packages:
        ending = ending_errors(package)
        found += [text for module in package for text in module.texts(ending, outages)]
    return [each for each in found if sum(map(str.isalpha, each.text)) >= LETTERS_MIN]


@cache
def string_constants() -> str:
    """Return all string constants of production code, one a line, with `…` for what is known only at run time."""
    texts = []
    for module in (module for package in PACKAGES for module in modules(package)):
        strings = (node for node in ast.walk(module.tree) if isinstance(node, (ast.Constant, ast.JoinedStr)))
        texts += [text for node in strings for text in module.templates(node, follows=False)]
    return "\n".join(texts)


@cache
def modules(package: str) -> list[Module]:
    """Return the modules of a package and of the packages in it."""
    return [Module(path) for path in sorted((ROOT / package).rglob("*.py")) if "node_modules" not in path.parts]


def ending_errors(package: list[Module]) -> set[str]:
    """Return the names of the classes of errors that end a process of a package."""
    bases = {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for module in package
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    }
    found = set(ENDING_ERRORS)
    while more := {name for name, parents in bases.items() if parents & found} - found:
        found |= more
    return found


class Module:
    """The syntax tree of a module."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self._parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self._all_calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    def texts(self, ending: set[str], outages: list[str]) -> Iterator[Text]:
        """Find the texts of log calls, of writes to standard error, of exits, and of errors that end a process."""
        for call in self._calls():
            argument = text_argument(call, ending)
            for text in self.templates(argument) if argument is not None else ():
                variants = outages if self._is_in_outage(call) else [VARIABLE]
                for what in variants:
                    yield Text(text.replace(VARIABLE, what, 1).strip(), f"{self.name}:{call.lineno}")

    def arguments_of(self, names: set[str]) -> list[str]:
        """Return the first arguments with which classes of these names are called."""
        calls = (call for call in self._calls() if name_of(call.func) in names and call.args)
        return [text for call in calls for text in self.templates(call.args[0])]

    def templates(self, node: ast.expr, *, follows: bool = True) -> list[str]:
        """Return what an expression may be as a text; a parameter is followed to the calls of its function."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp(body=body, orelse=other):
                return self.templates(body, follows=follows) + self.templates(other, follows=follows)
            case ast.JoinedStr(values=values):
                found = [""]
                for value in values:
                    found = [before + after for before in found for after in self.templates(value, follows=follows)]
                return found
            case ast.FormattedValue(value=value):
                return self.templates(value, follows=follows)
            case ast.Name(id=name):
                return (self._passed(node, name) if follows else []) or [VARIABLE]
        return [VARIABLE]

    def _passed(self, node: ast.expr, name: str) -> list[str]:
        """Return the constant texts that callers in this module pass as a parameter."""
        function = self.function_of(node)
        if function is None:
            return []
        parameters = [each.arg for each in function.args.args if each.arg not in {"self", "cls"}]
        if name not in parameters:
            return []
        index, passed = parameters.index(name), []
        for call in self._calls():
            if name_of(call.func) == function.name:
                keywords = [each.value for each in call.keywords if each.arg == name]
                given = [*call.args[index : index + 1], *keywords]
                passed += [text for each in given for text in self.templates(each, follows=False)]
        return passed

    @property
    def dotted_name(self) -> str:
        """The name by which the module is imported."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def function_of(self, node: ast.AST) -> Function | None:
        """Return the function that a node is in, None for one that is in none."""
        while node in self._parents:
            node = self._parents[node]
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return node
        return None

    def _is_in_outage(self, node: ast.AST) -> bool:
        while node in self._parents:
            node = self._parents[node]
            if isinstance(node, ast.ClassDef):
                return node.name in OUTAGE_CLASSES
        return False

    def _calls(self) -> Iterator[ast.Call]:
        return iter(self._all_calls)


def text_argument(call: ast.Call, ending: set[str]) -> ast.expr | None:
    """Return the argument of a call that an operator may read; None where it is not such a call."""
    name = name_of(call.func)
    # The whole name is long to write, and most calls have another one.
    called = ast.unparse(call.func) if name in {"exit", "write"} | LEVELS else ""
    if name in ending or called in {"sys.exit", "sys.stderr.write"} or (name in LEVELS and "logger" in called):
        return call.args[0] if call.args else None
    if name == "log_limited" and not ast.unparse(call.args[0]).endswith(("INFO", "DEBUG")):
        return call.args[1]
    return None


def name_of(function: ast.expr) -> str:
    """Return the last part of the name of what is called."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
