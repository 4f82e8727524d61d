"""Source text without the branches that one prompt can never take: what is known of some names decides their conditions.

The text is edited and not printed anew, so that it keeps its layout and comments. Only `if` statements, conditional
expressions, "and" and "or", and statements that nothing reaches any more are touched; a condition that is not known for certain stays.
"""

import ast
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

# What a name or an attribute can be, by the text of it; and that for the functions and classes of a module, by their names.
Facts = Mapping[str, frozenset[object]]
FactsOf = Mapping[str, Facts]

_COMPARED: dict[type[ast.cmpop], Callable[[object, object], object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda one, several: one in several,  # type: ignore[operator]  # a tuple of constants
    ast.NotIn: lambda one, several: one not in several,  # type: ignore[operator]  # a tuple of constants
}
_LEAVING = (ast.Return, ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fold:
    """What can be folded, and the lines that it touches.

    Attributes:
        node: What has a condition, or None for statements that nothing reaches.
        taken: Whether the condition holds; of "and" and "or", which begin with it.
    """

    first: int
    last: int
    node: ast.If | ast.IfExp | ast.BoolOp | None = None
    taken: bool = False


def folded(source: str, facts: FactsOf) -> str:
    """Return the source of a module in which no condition of those functions and classes is one that is known."""
    lines = source.splitlines(keepends=True)
    for definition in reversed(ast.parse(source).body if facts else []):
        known = facts.get(_name(definition))
        inner = definition.body if isinstance(definition, ast.ClassDef) else [definition]
        for node in reversed(inner if known is not None else []):
            place = slice(node.lineno - 1, node.end_lineno)
            lines[place] = _folded(lines[place], known or {})
    return "".join(lines)


def _folded(lines: list[str], facts: Facts) -> list[str]:
    """Return the lines of one definition; those of a method are indented."""
    head = ["class _:\n"] if lines[0].startswith(" ") else []
    edited = [*head, *lines]
    while found := list(_foldable(ast.parse("".join(edited)), facts)):
        reached = sys.maxsize
        # From the end on, so that lines before stay where they are; what lies around another waits for the next round.
        for fold in sorted(found, key=lambda each: (-each.first, each.last)):
            if fold.last < reached:
                _replace(edited, fold)
                reached = fold.first
    return edited[len(head) :]


def _replace(lines: list[str], fold: _Fold) -> None:
    if isinstance(fold.node, ast.If):
        _replace_statement(lines, fold.node, taken=fold.taken)
    elif isinstance(fold.node, ast.IfExp):
        branch = fold.node.body if fold.taken else fold.node.orelse
        _replace_expression(lines, fold.node, _between(lines, branch, branch))
    elif isinstance(fold.node, ast.BoolOp):
        decided = isinstance(fold.node.op, ast.Or) == fold.taken
        rest = _between(lines, fold.node.values[1], fold.node)
        _replace_expression(lines, fold.node, [str(fold.taken)] if decided else rest)
    else:
        del lines[fold.first - 1 : fold.last]


def _foldable(tree: ast.Module, facts: Facts) -> Iterator[_Fold]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.BoolOp):
            truths = {bool(value) for value in _deciding(node, facts) or (True, False)}
            if len(truths) == 1:
                last = node.end_lineno or node.lineno
                yield _Fold(first=node.lineno, last=last, node=node, taken=truths.pop())
        for block in _blocks(node):
            last = block[-1].end_lineno or 0
            leaving = (each for each in block[:-1] if isinstance(each, _LEAVING))
            yield from (_Fold(first=(each.end_lineno or 0) + 1, last=last) for each in leaving)


def _deciding(node: ast.If | ast.IfExp | ast.BoolOp, facts: Facts) -> frozenset[object] | None:
    if not isinstance(node, ast.BoolOp):
        return values(node.test, facts)
    # What begins with a comparison has its value, should that decide it.
    return values(node.values[0], facts) if isinstance(node.values[0], ast.Compare) else None


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for block in (getattr(node, "body", None), getattr(node, "orelse", None)):
        if isinstance(block, list) and block:
            yield block


def _name(definition: ast.stmt) -> str:
    if isinstance(definition, ast.ClassDef | ast.FunctionDef):
        return definition.name
    if isinstance(definition, ast.Assign) and isinstance(definition.targets[0], ast.Name):
        return definition.targets[0].id
    return ""


def values(expression: ast.expr, facts: Facts) -> frozenset[object] | None:
    """Return what an expression can be, or None where that is not known; of "and" and "or" only whether they hold."""
    if isinstance(expression, ast.Name | ast.Attribute):
        return facts.get(ast.unparse(expression))
    if isinstance(expression, ast.Constant | ast.Set | ast.Tuple):
        return _literal(expression)
    if isinstance(expression, ast.BoolOp):
        return _joined(expression, facts)
    if isinstance(expression, ast.Compare) and len(expression.ops) == 1:
        return _compared(expression, facts)
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute):
        return _begun(expression, expression.func, facts)
    return None


def _literal(expression: ast.Constant | ast.Set | ast.Tuple) -> frozenset[object] | None:
    if isinstance(expression, ast.Constant):
        return frozenset([expression.value])
    items = [item.value for item in expression.elts if isinstance(item, ast.Constant)]
    return frozenset([tuple(items)]) if len(items) == len(expression.elts) else None


def _joined(expression: ast.BoolOp, facts: Facts) -> frozenset[object] | None:
    # One operand decides: a false one an "and", a true one an "or".
    deciding = isinstance(expression.op, ast.Or)
    truths = [
        None if (found := values(operand, facts)) is None else {bool(value) for value in found}
        for operand in expression.values
    ]
    if {deciding} in truths:
        return frozenset([deciding])
    return frozenset([not deciding]) if all(truth == {not deciding} for truth in truths) else None


def _compared(expression: ast.Compare, facts: Facts) -> frozenset[object] | None:
    left, right = values(expression.left, facts), values(expression.comparators[0], facts)
    compare = _COMPARED.get(type(expression.ops[0]))
    if left is None or right is None or compare is None:
        return None
    return frozenset(compare(one, other) for one in left for other in right)


def _begun(call: ast.Call, function: ast.Attribute, facts: Facts) -> frozenset[object] | None:
    """Return what `text.startswith(...)` can be, where the text is known."""
    texts = values(function.value, facts)
    if texts is None or function.attr != "startswith" or not isinstance(call.args[0], ast.Constant):
        return None
    return frozenset(str(text).startswith(str(call.args[0].value)) for text in texts)


def _replace_statement(lines: list[str], node: ast.If, *, taken: bool) -> None:
    branch = node.body if taken else node.orelse
    chained = _is_elif(lines, node)
    kept: list[str] = []
    if branch and not taken and _is_elif(lines, branch[0]):
        kept = lines[branch[0].lineno - 1 : node.end_lineno]
        kept[0] = kept[0] if chained else kept[0].replace("elif", "if", 1)
    elif branch:
        kept = lines[branch[0].lineno - 1 : branch[-1].end_lineno]
        # The lines of a branch are indented by four more than those of its condition.
        kept = [" " * node.col_offset + "else:\n", *kept] if chained else [line[4:] or line for line in kept]
    lines[node.lineno - 1 : node.end_lineno] = kept


def _is_elif(lines: list[str], node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and lines[node.lineno - 1].lstrip().startswith("elif")


def _replace_expression(lines: list[str], node: ast.expr, chosen: list[str]) -> None:
    before = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    after = lines[(node.end_lineno or 1) - 1].encode()[node.end_col_offset :].decode()
    lines[node.lineno - 1 : node.end_lineno] = "".join([before, *chosen, after]).splitlines(keepends=True)


def _between(lines: list[str], first: ast.expr, last: ast.expr) -> list[str]:
    """Return the source from where one expression begins to where one ends; columns are counted in bytes."""
    found = lines[first.lineno - 1 : last.end_lineno]
    found[-1] = found[-1].encode()[: last.end_col_offset].decode()
    found[0] = found[0].encode()[first.col_offset :].decode()
    return found
