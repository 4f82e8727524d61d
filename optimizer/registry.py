"""Plug-ins by file name and entry point, listed without importing them."""

import difflib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Generic, TypeVar

from optimizer.errors import PluginError

T = TypeVar("T")


class Registry(Generic[T]):
    """The plug-ins of one folder, each the single `kind` object that its module defines.

    A plug-in's name is the name of its file. Other distributions add theirs with an entry point in the
    group that bears the folder's name (`optimizer.metrics`), whose value is the module; they cannot take the
    name of a file in the folder.
    """

    def __init__(self, folder: str, kind: type[T]) -> None:
        self.folder = folder
        self.kind = kind
        self._keys: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        """Yield every name in order. Imports none of the plug-ins."""
        return iter(sorted({**self._entry_points, **self._files}))

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __getitem__(self, name: str) -> T:
        """Import one plug-in and return it.

        Raises:
            PluginError: When the name is unknown, its module cannot be imported, or does not define exactly one
                plug-in.
        """
        module_name = self._files.get(name) or self._entry_points.get(name)
        if module_name is None:
            noun = self.folder.rpartition(".")[2]
            raise PluginError(f"no plug-in {name!r} in {noun}{did_you_mean(name, self)}")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise PluginError(f"{module_name} cannot be imported: {error}") from error
        if name not in self._keys:
            found = [key for key, value in vars(module).items() if self._is_plug_in(key, value)]
            if len(found) != 1:
                raise PluginError(
                    f"{module_name} must define exactly one {self.kind.__name__}, found {len(found)}"
                )
            (self._keys[name],) = found
        plug_in: T = getattr(module, self._keys[name])
        return plug_in

    def about(self, name: str) -> str:
        """Return the first line of what one plug-in's module says of itself, "" where it says nothing.

        Raises:
            PluginError: When the name is unknown or its module cannot be imported.
        """
        self[name]
        module = importlib.import_module(self._files.get(name) or self._entry_points[name])
        return (module.__doc__ or "").strip().partition("\n")[0]

    def _is_plug_in(self, key: str, value: object) -> bool:
        return not key.startswith("_") and isinstance(value, self.kind)

    @cached_property
    def _files(self) -> dict[str, str]:
        """The modules of the folder by name; a file that comes while a process runs is there for the next one."""
        found = pkgutil.iter_modules(importlib.import_module(self.folder).__path__)
        return {file.name: f"{self.folder}.{file.name}" for file in found if not file.name.startswith("_")}

    @cached_property
    def _entry_points(self) -> dict[str, str]:
        """The modules of other distributions by name; to ask for them reads a file for each that is installed."""
        return {point.name: point.value for point in importlib.metadata.entry_points(group=self.folder)}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?", or the list of what there is when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(names)}" if names else ""
