"""The package's own source as one module that needs nothing but `json` and `re`: what some names need, and no more.

No definition is written anew. Annotations go, dataclasses become plain classes, and what other modules of the standard
library do is done by `_standins` and `_unicode`; all else stays as it stands in its file, comments and layout included.
"""

import ast
import builtins
import importlib.resources
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from optimizer.exporters._folding import Facts, FactsOf, folded
from optimizer.exporters._plain import (
    Definition,
    Edit,
    Text,
    Use,
    has_slots,
    is_dataclass,
    plain_class,
    plain_edits,
    uses,
)

# In the order in which they stand in a bundle: each needs those before it when it is imported.
MODULES = (
    "exporters._standins",
    "errors",
    "digest",
    "completion",
    "narrowing",
    "reading",
    "numerals",
    "repair",
    "retrieval",
    "answer",
    "prompt",
    "exporters._unicode",
    "exporters._facade",
)

# What a bundle may import.
IMPORTED = ("json", "re")

# Where what stands in for things of other modules is found, and as what.
_STANDINS = "exporters._standins"
_REPLACED = dict.fromkeys(("collections", "dataclasses", "functools", "math"), _STANDINS)
_UNICODE = "exporters._unicode"
_OBJECTS = {
    "unicodedata.normalize": "_NORMAL.normalize",
    "unicodedata.combining": "_NORMAL.combining",
    "unicodedata.category": "_CATEGORIES.category",
}
# Errors of a bundle are of Python's own kinds.
_BUILT_IN = {"OptimizerError": "ValueError"}

_POSSESSIVE = re.compile(r"[*+?}]\+|\(\?>")

# Words to the checkers of the source.
_NOT_OURS = re.compile(r"  # (?:noqa|type: ignore)\b.*")

# A module and a name in it, or a class and its method as `class.method`.
Place = tuple[str, str]


class UnbundledError(Exception):
    """The source needs what a bundle cannot have: a mistake of this package, and of no prompt."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Some definitions and all that they need, as text.

    Attributes:
        text: The source.
        places: What is in it, in the order of the text.
        given: Names that it takes from whoever writes it.
        is_possessive: Whether a pattern in it may take Python 3.11.
    """

    text: str
    places: tuple[Place, ...]
    given: frozenset[str]
    is_possessive: bool


def bundle(
    roots: Iterable[Place],
    facts: Mapping[str, FactsOf],
    *,
    given: Mapping[str, str],
    skipped: Collection[str] = (),
) -> Bundle:
    """Return what some definitions need, without the branches that are never taken.

    Args:
        facts: What is known of the conditions in each module.
        given: The texts of what is assigned to some names; those without one are defined elsewhere.
        skipped: Methods that are left out.

    Raises:
        UnbundledError: When something is needed that is in none of the modules and has no stand-in.
    """
    sources = {name: _source(name, _frozen(facts.get(name, {}))) for name in MODULES}
    reach = _Reach(sources, given, skipped)
    reach.follow(list(roots))
    names = reach.names()
    texts: list[str] = []
    places: list[Place] = []
    for name, source in sources.items():
        found = [place for place in source.places if (name, place) in reach.places]
        places += [(name, place) for place in found]
        written = _Writing(source, names, given).text(found)
        texts += [f"# {source.file}: {source.summary}\n\n{written}"] if written else []
    return Bundle(
        text="\n\n".join(texts),
        places=tuple(places),
        given=frozenset(reach.given),
        is_possessive=any(sources[module].is_possessive(place) for module, place in places),
    )


def is_possessive_pattern(text: str) -> bool:
    """Return whether a regular expression may be one that came with Python 3.11."""
    return _POSSESSIVE.search(text) is not None


class _Source:
    """One module: its definitions by their places, and where it imports names from."""

    def __init__(self, name: str, facts: FactsOf) -> None:
        self.name = name
        self.file = f"optimizer/{name.replace('.', '/')}.py"
        self.text = Text(folded(read_source(name), facts))
        tree = ast.parse(self.text.source)
        self.summary = re.split(r"(?<=\.)\s", ast.get_docstring(tree) or "", maxsplit=1)[0]
        self.places: dict[str, Definition] = {}
        self.methods: dict[str, tuple[str, ...]] = {}
        self._imports: dict[str, Place] = {}
        self._uses: dict[int, tuple[Use, ...]] = {}
        # Texts of definitions, by what is called otherwise in them.
        self.written: dict[tuple[int, frozenset[str]], str] = {}
        for node in tree.body:
            self._take(node)

    def _take(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            whole = isinstance(node, ast.Import)
            for alias in node.names:
                module = alias.name if isinstance(node, ast.Import) else node.module or ""
                module = module.removeprefix("optimizer.")
                place = (_REPLACED.get(module, module), "" if whole else alias.name)
                self._imports[alias.asname or alias.name] = place
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            self.places[node.name] = node
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found = {each.name: each for each in inner if isinstance(each, ast.FunctionDef)}
            self.methods[node.name] = tuple(found)
            self.places |= {f"{node.name}.{name}": each for name, each in found.items()}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = (each for target in targets for each in ast.walk(target))
            self.places |= {each.id: node for each in named if isinstance(each, ast.Name)}

    def is_possessive(self, place: str) -> bool:
        """Return whether a constant of the module is a regular expression of Python 3.11."""
        node = self.places[place]
        texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
        compiled = isinstance(node, ast.Assign) and "re.compile(" in self.text.segment(node.value)
        return compiled and any(isinstance(text, str) and is_possessive_pattern(text) for text in texts)

    def uses(self, node: Definition) -> tuple[Use, ...]:
        """Return what a definition of the module uses."""
        if id(node) not in self._uses:
            self._uses[id(node)] = tuple(uses(node))
        return self._uses[id(node)]

    def behind(self, use: Use) -> Place | None:
        """Return what is used, with the name "" for a module; None for what is neither defined nor imported here."""
        return (self.name, use.name) if use.name in self.places else self._imports.get(use.name)


def read_source(module: str) -> str:
    """Return the source of a module of the package."""
    *folders, file = module.split(".")
    path = importlib.resources.files("optimizer").joinpath(*folders, f"{file}.py")
    return path.read_text(encoding="utf-8")


_FrozenFacts = tuple[tuple[str, tuple[tuple[str, frozenset[object]], ...]], ...]


def _frozen(facts: FactsOf) -> _FrozenFacts:
    return tuple((name, tuple(known.items())) for name, known in facts.items())


@lru_cache(maxsize=256)
def _source(name: str, facts: _FrozenFacts) -> _Source:
    return _Source(name, {key: cast("Facts", dict(known)) for key, known in facts})


class _Reach:
    """What some definitions need."""

    def __init__(
        self, sources: Mapping[str, _Source], given: Collection[str], skipped: Collection[str]
    ) -> None:
        self.places: set[Place] = set()
        self.given: set[str] = set()
        self._sources, self._given, self._skipped = sources, given, skipped
        self._called: set[str] = set()

    def follow(self, waiting: list[Place]) -> None:
        """Add some definitions and what they need."""
        while waiting:
            place = waiting.pop()
            if place not in self.places and place[1] not in self._skipped:
                self.places.add(place)
                waiting += self._needed(place)
                waiting += [method for method in self._methods() if method not in self.places]

    def names(self) -> dict[Place, str]:
        """Return the name of each definition in the bundle: its own, but where a module before it has that as well."""
        taken: dict[str, str] = {}
        tops = sorted((MODULES.index(module), name) for module, name in self.places if "." not in name)
        for number, name in tops:
            taken.setdefault(name, MODULES[number])
        return {
            (MODULES[number], name): name
            if taken[name] == MODULES[number]
            else f"{name}_{MODULES[number].rpartition('.')[2].strip('_')}"
            for number, name in tops
        }

    def _methods(self) -> Iterator[Place]:
        """Yield the methods, of all classes that are needed, that something calls by their name."""
        for module, name in self.places:
            for method in self._sources[module].methods.get(name, ()):
                dunder = method.startswith("__") and method.endswith("__")
                if (dunder or method in self._called) and f"{name}.{method}" not in self._skipped:
                    yield module, f"{name}.{method}"

    def _needed(self, place: Place) -> Iterator[Place]:
        module, name = place
        source, owner = self._sources[module], name.rpartition(".")[0]
        node = source.places[name]
        if owner:
            yield module, owner
        if isinstance(node, ast.ClassDef) and is_dataclass(node) and has_slots(node):
            yield _STANDINS, "Record"
        for use in source.uses(node) if name not in self._given else ():
            if use.name == "self":
                method = f"{owner}.{use.attribute}"
                yield from [(module, method)] if method in source.places else []
            elif use.attribute:
                yield from self._attribute(source, use)
            else:
                yield from self._name(source, use)
        if name in self._given:
            self.given.add(name)
        # What is assigned in one statement stands there together.
        yield from ((module, other) for other, each in source.places.items() if each is node)

    def _name(self, source: _Source, use: Use) -> Iterator[Place]:
        target = source.behind(use)
        if target is None:
            if not hasattr(builtins, use.name):
                raise UnbundledError(f"{source.name}: {use.name} is defined nowhere")
        elif target[1] and target[1] not in _BUILT_IN:
            if target[0] not in self._sources or target[1] not in self._sources[target[0]].places:
                raise UnbundledError(f"{source.name}: {use.name} of {target[0]} has no stand-in")
            yield target

    def _attribute(self, source: _Source, use: Use) -> Iterator[Place]:
        """Yield what an attribute needs: of a module, of a class, or of anything, whose class is not known."""
        target = source.behind(use) if use.name else None
        if target is None or (target[1] and not self._is_class(target)):
            self._called.add(use.attribute)
        elif target[1]:
            method = f"{target[1]}.{use.attribute}"
            yield from [(target[0], method)] if method in self._sources[target[0]].places else []
        elif target[0] in self._sources:
            yield target[0], use.attribute
        elif target[0] not in IMPORTED:
            if f"{target[0]}.{use.attribute}" not in _OBJECTS:
                raise UnbundledError(f"{source.name}: {target[0]}.{use.attribute} has no stand-in")
            self._called.add(use.attribute)
            yield _UNICODE, _OBJECTS[f"{target[0]}.{use.attribute}"].partition(".")[0]

    def _is_class(self, place: Place) -> bool:
        source = self._sources.get(place[0])
        return source is not None and isinstance(source.places.get(place[1]), ast.ClassDef)


class _Writing:
    """The text of what is needed of one module."""

    def __init__(self, source: _Source, names: Mapping[Place, str], given: Mapping[str, str]) -> None:
        self._source, self._text = source, source.text
        self._names, self._given = names, given
        self._others = frozenset(name for place, name in names.items() if place[1] != name)

    def text(self, places: Sequence[str]) -> str:
        """Return the definitions in those places."""
        found, before = "", ""
        nodes = {id(self._source.places[place]): place for place in places if "." not in place}
        for place in nodes.values():
            node = self._source.places[place]
            written = _NOT_OURS.sub("", self._definition(place, node, places))
            constant = isinstance(node, ast.Assign | ast.AnnAssign)
            if found and written:
                short = before == "constant" and constant and written.count("\n") == 1
                found += "" if short else "\n" if before == "constant" and constant else "\n\n"
            found += written
            before = before if not written else "constant" if constant else "code"
        return found

    def _definition(self, place: str, node: Definition, places: Sequence[str]) -> str:
        if place in self._given:
            return self._given[place] and f"{place} = {self._given[place]}\n"
        if not isinstance(node, ast.ClassDef):
            return self._edited(node)
        methods = [each for each in places if each.startswith(f"{place}.")]
        return plain_class(
            self._text, node, [self._edited(self._source.places[each]) for each in methods], _BUILT_IN
        )

    def _edited(self, node: Definition) -> str:
        key = (id(node), self._others)
        if key not in self._source.written:
            edits = plain_edits(self._text, node)
            for use in self._source.uses(node):
                target = self._source.behind(use) if use.name else None
                if target is not None:
                    edits += self._renamed(use, target)
            edits += self._own_name(node)
            self._source.written[key] = self._text.edited(*self._text.block(node), edits)
        return self._source.written[key]

    def _own_name(self, node: Definition) -> Iterator[Edit]:
        """Yield the edits that give a definition another name, where another module has the same."""
        for name in (name for name, each in self._source.places.items() if each is node):
            new = self._names.get((self._source.name, name), name)
            if new != name:
                assert isinstance(node, ast.Assign | ast.FunctionDef)  # no two classes have one name
                start, _ = self._text.span(node)
                place = self._text.source.index(name, start)
                yield Edit(start=place, end=place + len(name), text=new)

    def _renamed(self, use: Use, target: Place) -> Iterator[Edit]:
        start, end = self._text.span(use.node)
        if use.attribute and not target[1] and target[0] not in IMPORTED:
            whole = _OBJECTS.get(f"{target[0]}.{use.attribute}", use.attribute)
            yield Edit(start=start, end=end, text=whole)
        elif not use.attribute and target[1]:
            yield Edit(
                start=start, end=end, text=self._names.get(target, _BUILT_IN.get(target[1], target[1]))
            )
