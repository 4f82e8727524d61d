"""Definitions as plain text: what names they use from outside, and their source without types and dataclasses.

The source is edited in its places and not printed anew.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# A definition: a function, a class without its methods, a method, or what is assigned to names of a module.
Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign

_LONGEST_LINE = 110


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """A name that a definition takes from outside, or an attribute of anything.

    Attributes:
        node: Where it stands.
        name: The name, or whose attribute it is: "" where that is not a name from outside, nor "self".
        attribute: "" for none.
    """

    node: ast.expr
    name: str
    attribute: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """Another text for what stands from one place to another."""

    start: int
    end: int
    text: str = ""


class Text:
    """The source of a module, and where in it a node stands."""

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines(keepends=True)
        self.source = source
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt | ast.arg | ast.keyword) -> tuple[int, int]:
        """Return the places in the source from which and up to which a node stands."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._place(node.lineno, node.col_offset), self._place(end_line, end_column)

    def segment(self, node: ast.expr) -> str:
        """Return the source of an expression."""
        start, end = self.span(node)
        return self.source[start:end]

    def block(self, node: ast.stmt) -> tuple[int, int]:
        """Return the places of the lines of a statement, with its decorators and the comment right above it."""
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(each.lineno for each in decorators)]) - 1
        while first and self.lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return self._starts[first], self._starts[node.end_lineno or node.lineno]

    def edited(self, start: int, end: int, edits: Sequence[Edit]) -> str:
        """Return a piece of the source with the edits that lie in it."""
        found, place = "", start
        for edit in sorted(edits, key=lambda each: each.start):
            if place <= edit.start and edit.end <= end:
                found += self.source[place : edit.start] + edit.text
                place = edit.end
        return found + self.source[place:end]

    def _place(self, line: int, column: int) -> int:
        # Columns are counted in bytes.
        return self._starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())


def uses(node: Definition) -> Iterator[Use]:
    """Yield what a definition uses; what its annotations name is not used, nor what the methods of a class do."""
    if isinstance(node, ast.ClassDef):
        for base in [*node.bases, *other_decorators(node)]:
            yield from _uses(base, frozenset())
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and is_dataclass(node):
                default = default_of(statement)
                yield from _uses(default, frozenset()) if default else ()
            elif not isinstance(statement, ast.FunctionDef):
                yield from _uses(statement, frozenset())
    else:
        yield from _uses(node, frozenset())


def _uses(node: ast.AST, local: frozenset[str]) -> Iterator[Use]:
    inner = local | _bound(node)
    if isinstance(node, ast.Attribute):
        base = node.value.id if isinstance(node.value, ast.Name) else ""
        yield Use(node=node, name=base if base == "self" or base not in local else "", attribute=node.attr)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in local:
        yield Use(node=node, name=node.id)
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        # What decorates a function, and what its parameters are by default, stands outside of it.
        outside = isinstance(node, ast.FunctionDef) and name == "decorator_list"
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _uses(child, local if outside else inner)


def _bound(node: ast.AST) -> frozenset[str]:
    """Return the names that a function or comprehension has for itself; a function has those of the latter in it as well."""
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        named = (each for part in node.generators for each in ast.walk(part.target))
        return frozenset(each.id for each in named if isinstance(each, ast.Name))
    if not isinstance(node, ast.FunctionDef | ast.Lambda):
        return frozenset()
    found = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            found.add(each.id)
        elif isinstance(each, ast.ExceptHandler) and each.name:
            found.add(each.name)
        elif isinstance(each, ast.FunctionDef) and each is not node:
            found |= {each.name, *(argument.arg for argument in each.args.args)}
    return frozenset(found)


def is_dataclass(node: ast.stmt) -> bool:
    """Return whether a definition is a dataclass."""
    return isinstance(node, ast.ClassDef) and len(other_decorators(node)) < len(node.decorator_list)


def other_decorators(node: ast.ClassDef) -> list[ast.expr]:
    """Return what decorates a class beside `dataclass`."""
    return [each for each in node.decorator_list if not ast.unparse(each).startswith("dataclass(")]


def has_slots(node: ast.ClassDef) -> bool:
    """Return whether a dataclass has slots."""
    return any("slots=True" in ast.unparse(each) for each in node.decorator_list)


def default_of(field: ast.AnnAssign) -> ast.expr | None:
    """Return the default of a dataclass's field."""
    value = field.value
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        return next(keyword.value for keyword in value.keywords if keyword.arg == "default")
    return value


def plain_edits(text: Text, node: ast.AST) -> list[Edit]:
    """Return the edits that take the types from a definition, and what is not in every Python that can run the rest."""
    return [edit for each in ast.walk(node) for edit in _plain(text, each)]


def _plain(text: Text, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.arg) and node.annotation:
        end = text.span(node.annotation)[1]
        default = text.source.startswith(" = ", end)
        start = text.span(node)[0] + len(node.arg)
        yield Edit(start=start, end=end + 3, text="=") if default else Edit(start=start, end=end)
    elif isinstance(node, ast.FunctionDef) and node.returns:
        start, end = text.span(node.returns)
        yield Edit(start=text.source.rindex("->", 0, start) - 1, end=end)
    elif isinstance(node, ast.AnnAssign) and node.value is None:
        start, end = text.block(node)
        yield Edit(start=start, end=end)
    elif isinstance(node, ast.AnnAssign):
        yield Edit(start=text.span(node.target)[1], end=text.span(node.annotation)[1])
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        yield from _kinds(text, node.args[1])
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
        for keyword in node.keywords:
            yield Edit(start=text.span(node.args[-1])[1], end=text.span(keyword)[1])


def _kinds(text: Text, kinds: ast.expr) -> Iterator[Edit]:
    """Yield the edit that makes a tuple of a union of types: before Python 3.10 there is no other."""
    parts = [kinds]
    while isinstance(parts[0], ast.BinOp):
        parts[:1] = [parts[0].left, parts[0].right]
    if len(parts) > 1:
        start, end = text.span(kinds)
        yield Edit(start=start, end=end, text=f"({', '.join(text.segment(part) for part in parts)})")


def plain_class(text: Text, node: ast.ClassDef, methods: Sequence[str], names: Mapping[str, str]) -> str:
    """Return a class with some of its methods, whose texts are given; a dataclass with what makes one by hand.

    Args:
        names: What a base of the class is called where it is called otherwise.
    """
    bases = [names.get(ast.unparse(base), ast.unparse(base)) for base in node.bases]
    fields = [each for each in node.body if isinstance(each, ast.AnnAssign)] if is_dataclass(node) else []
    bases += ["Record"] if fields and has_slots(node) else []
    head = f"class {node.name}({', '.join(bases)}):\n" if bases else f"class {node.name}:\n"
    others = [each for each in node.body if not isinstance(each, ast.FunctionDef) and each not in fields]
    docs = [text.edited(*text.block(each), []) for each in others if isinstance(each, ast.Expr)]
    assigned = [
        text.edited(*text.block(each), plain_edits(text, each))
        for each in others
        if not isinstance(each, ast.Expr)
    ]
    made = [*_made_by_hand(text, node, fields)] if fields else []
    if made and any("def __post_init__(" in method for method in methods):
        made.append("        self.__post_init__()")
    return head + "\n".join(
        [*docs, *filter(None, ["".join(assigned), "".join(f"{line}\n" for line in made)]), *methods]
    )


def _made_by_hand(text: Text, node: ast.ClassDef, fields: Sequence[ast.AnnAssign]) -> Iterator[str]:
    names = [ast.unparse(field.target) for field in fields]
    if has_slots(node):
        yield f"    __slots__ = {_listed(names)}"
        uncompared = [
            name
            for name, field in zip(names, fields, strict=True)
            if "compare=False" in ast.unparse(field.value or field.target)
        ]
        if uncompared:
            yield f"    _uncompared = {_listed(uncompared)}"
        yield ""
    defaults = [default_of(field) for field in fields]
    taken = [
        name if default is None else f"{name}={text.segment(default)}"
        for name, default in zip(names, defaults, strict=True)
    ]
    line = f"    def __init__(self, *, {', '.join(taken)}):"
    if len(line) > _LONGEST_LINE:
        line = (
            "\n        ".join(["    def __init__(", "self,", "*,", *(f"{each}," for each in taken)])
            + "\n    ):"
        )
    yield line
    yield from (f"        self.{name} = {name}" for name in names)


def _listed(names: Sequence[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"({quoted},)" if len(names) == 1 else f"({quoted})"
