"""Mapped sources, compiled: another system's JSON straight into the event's own struct, in one pass of msgspec.

The struct of a source is the type's struct with other names on the wire, so a field that stands at the
root of the record costs nothing more than one of ours. What stands deeper is decoded into small structs in
hidden attributes, and a function made for the source puts it into place, with conversions where the map
asks for them. Where two fields share a path, or one's path leads through another's value, that part is
decoded as it is and walked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from profilestream.core.events import Field
from profilestream.core.sources import Where
from profilestream.wire.conversions import conversion
from profilestream.wire.structs import annotation, default_of

Fill = Callable[[Any], None]

_OFF_WIRE: Final = "~"
"""Before the name of an attribute that no key of the record fills."""
_CLASS_AS_IT_IS: Final = {"string": "str", "int": "int", "number": "float"}
"""Values of this class need no conversion, where the map asks for none."""


def mapped_struct(
    name: str,
    fields: Mapping[str, Field],
    mapping: Mapping[str, Where],
    base: type[msgspec.Struct],
    namespace: Mapping[str, Any],
) -> tuple[type[msgspec.Struct], Fill | None]:
    """The struct that reads a source's records, and what completes one that was read (ValueError: it is no event).

    `mapping` tells for each of `fields` where it stands.
    """
    return _Compiler(name, fields, mapping).build((base,), namespace)


@dataclass(slots=True)
class _Leaf:
    """A field at the place where it stands; `owner` is the object that it is a member of, if it is one."""

    field: Field
    where: Where
    owner: Field | None = None


@dataclass(slots=True)
class _Place:
    """A place in the record: the fields that stand there, and the places below it."""

    leaves: list[_Leaf] = field(default_factory=list)
    below: dict[str, _Place] = field(default_factory=dict)

    @property
    def mixed(self) -> bool:
        return len(self.leaves) + bool(self.below) > 1

    @property
    def required(self) -> bool:
        return any(leaf.field.required and leaf.owner is None for leaf in self.leaves) or any(
            place.required for place in self.below.values()
        )


class _Compiler:
    """Builds one struct and the function that completes its instances."""

    def __init__(self, name: str, fields: Mapping[str, Field], mapping: Mapping[str, Where]) -> None:
        self.name = name
        self.fields = fields
        self.mapping = mapping
        self.members: list[tuple[Any, ...]] = []
        self.renamed: dict[str, str] = {}
        self.lines: list[str] = []
        self.objects: dict[str, Any] = {"UNSET": UNSET, "walk": _walk, "missing": _missing}
        self.in_place: set[str] = set()
        self.off_wire = _OFF_WIRE
        self.attributes: dict[int, str] = {}
        """The hidden attribute of each place that has one, by the place's identity."""
        self.elements: dict[str, tuple[type[msgspec.Struct], Fill | None]] = {}

    def build(
        self, bases: tuple[type[msgspec.Struct], ...], namespace: Mapping[str, Any]
    ) -> tuple[type[msgspec.Struct], Fill | None]:
        root = self._places()
        while any(key.startswith(self.off_wire) for key in root.below):
            self.off_wire += _OFF_WIRE
        for key, place in root.below.items():
            self._at_root(key, place)
        for name, declared in self.fields.items():
            if name not in self.in_place:
                self._off_wire(declared, self.mapping[name])
        struct = _struct(self.name, self.members, self.renamed, bases, namespace)
        return struct, self._function()

    def _places(self) -> _Place:
        root = _Place()
        for name, where in self.mapping.items():
            declared = self.fields[name]
            if declared.kind == "object" and where.each:
                self._line(f"e.{declared.attribute} = {{}}")
                for member, inner in where.each.items():
                    of = next((f for f in declared.record if f.name == member), Field(member, "json", required=False))
                    if inner.path:
                        _put(root, where.path + inner.path, _Leaf(of, inner, declared))
                    else:
                        self._line(f"e.{declared.attribute}[{self._object(member)}] = {self._object(inner.value)}")
            elif where.path:
                _put(root, where.path, _Leaf(declared, where))
        return root

    # Placing fields

    def _at_root(self, key: str, place: _Place) -> None:
        """A key of the record itself: right into the field's attribute where it can be."""
        if not place.mixed and place.leaves and place.leaves[0].owner is None:
            leaf = place.leaves[0]
            attribute = leaf.field.attribute
            self.in_place.add(leaf.field.name)
            self.renamed[attribute] = key
            self.members.append(self._member(attribute, leaf))
            self._convert(leaf, f"e.{attribute}")
            return
        self._take(f"e.{self._hide(self.members, self.renamed, key, place)}", place, 0)

    def _hide(self, members: list[Any], renamed: dict[str, str], key: str, place: _Place) -> str:
        """A hidden attribute for the place under `key`."""
        attribute = self.attributes[id(place)] = f"_{len(self.attributes)}"
        renamed[attribute] = key
        if place.mixed:
            members.append((attribute, Any, UNSET))
        elif place.leaves:
            members.append(self._member(attribute, place.leaves[0]))
        else:
            inner: list[Any] = []
            names: dict[str, str] = {}
            for inner_key, below in place.below.items():
                self._hide(inner, names, inner_key, below)
            struct: Any = _struct(f"{self.name}_{attribute}", inner, names, (), {})
            members.append((attribute, struct) if place.required else (attribute, struct | None, None))
        return attribute

    def _take(self, source: str, place: _Place, depth: int) -> None:
        """Lines that bring what stands at a place, held in `source`, to the event's attributes."""
        pad = "    " * depth
        if place.mixed:
            self._walked(source, place, (), depth)
        elif place.leaves:
            self._assign(place.leaves[0], source, depth)
        else:
            inner = f"n{self.attributes[id(place)]}"
            self._line(f"{pad}{inner} = {source}")
            if not place.required:
                self._line(f"{pad}if {inner} is not None:")
            for below in place.below.values():
                self._take(f"{inner}.{self.attributes[id(below)]}", below, depth + (not place.required))
            absent = [] if place.required else [leaf for leaf in _leaves(place) if leaf.owner is None]
            if absent:
                self._line(f"{pad}else:")
            for leaf in absent:
                self._line(f"{pad}    e.{leaf.field.attribute} = {self._default(leaf.field)}")

    def _assign(self, leaf: _Leaf, source: str, depth: int) -> None:
        pad = "    " * depth
        if leaf.owner is None:
            target = f"e.{leaf.field.attribute}"
            self._line(f"{pad}{target} = {source}")
            self._convert(leaf, target, depth)
            return
        self._line(f"{pad}if {source} is not UNSET:")
        convert = conversion(leaf.field, leaf.where)
        value = source if convert is None else f"None if {source} is None else {self._object(convert)}({source})"
        self._line(f"{pad}    e.{leaf.owner.attribute}[{self._object(leaf.field.name)}] = {value}")

    def _convert(self, leaf: _Leaf, target: str, depth: int = 0) -> None:
        """The lines that turn a value in its attribute into the field's own, its default where there is none."""
        pad = "    " * depth
        if leaf.field.kind == "records" and leaf.where.each:
            fill = self._element(leaf)[1]
            if fill is not None:
                self._line(f"{pad}for item in {target} or ():")
                self._line(f"{pad}    {self._object(fill)}(item)")
            return
        convert = conversion(leaf.field, leaf.where)
        if convert is None:
            return
        as_it_is = None
        if leaf.where.decimals is None and not leaf.where.words:
            as_it_is = _CLASS_AS_IT_IS.get(leaf.field.kind)
        self._line(f"{pad}v = {target}")
        self._line(f"{pad}if v is not None:" if as_it_is is None else f"{pad}if v.__class__ is not {as_it_is}:")
        if as_it_is is not None:  # the usual class first: one test an event
            self._line(f"{pad}    if v is not None: {target} = {self._object(convert)}(v)")
        else:
            self._line(f"{pad}    {target} = {self._object(convert)}(v)")
        if leaf.field.default is not None:
            self._line(f"{pad}if v is None: {target} = {self._default(leaf.field)}")

    def _walked(self, source: str, place: _Place, path: tuple[str, ...], depth: int) -> None:
        """A part that is decoded as it is: each field's value is looked up, and read as its kind."""
        pad = "    " * depth
        for leaf in place.leaves:
            kind = self._annotation(leaf)
            self._line(f"{pad}w = walk({source}, {self._object(path)})")
            if leaf.owner is None and leaf.field.required:
                self._line(f"{pad}if w is UNSET: missing()")
            else:
                kind = kind | None
            if leaf.owner is None and not leaf.field.required:
                self._line(f"{pad}if w is UNSET: w = {self._object(self._absent(leaf))}")
            self._line(f"{pad}if w is not UNSET:")
            self._line(f"{pad}    w = {self._object(_reader(kind))}(w)")
            self._assign(leaf, "w", depth + 1)
        for key, below in place.below.items():
            self._walked(source, below, (*path, key), depth)

    def _off_wire(self, declared: Field, where: Where) -> None:
        """An attribute that no key fills directly: set by the lines above, or constant, or absent."""
        attribute = declared.attribute
        self.members.append((attribute, Any, None))
        self.renamed[attribute] = self.off_wire + attribute
        if not where.path and where.each is None:
            value = self._object(where.value) if where.value is not None else self._default(declared)
            self._line(f"e.{attribute} = {value}")

    # Pieces

    def _member(self, attribute: str, leaf: _Leaf) -> tuple[Any, ...]:
        """The attribute that a leaf is decoded into, as `defstruct` takes it."""
        kind = self._annotation(leaf)
        if leaf.owner is not None:
            return attribute, kind | None | UnsetType, UNSET
        return (attribute, kind) if leaf.field.required else (attribute, kind | None, self._absent(leaf))

    def _absent(self, leaf: _Leaf) -> Any:
        """What stands where the record has nothing: the default, unless a conversion still comes after it."""
        return default_of(leaf.field, self.name) if conversion(leaf.field, leaf.where) is None else None

    def _annotation(self, leaf: _Leaf) -> Any:
        """What msgspec takes at the place: the field's own kind, and what the map's conversion can read."""
        declared, where = leaf.field, leaf.where
        if declared.kind == "records" and where.each:
            return list[self._element(leaf)[0]]  # type: ignore[misc]
        own = annotation(declared, self.name)
        if where.plain:
            return own
        if where.decimals is not None or where.unit is not None:
            return int | float | str
        match declared.kind:
            case "string":
                return int | own
            case "int" | "number":
                return str | own
            case "currency":
                return str
            case "boolean" if where.words:
                return str | own
        return own

    def _element(self, leaf: _Leaf) -> tuple[type[msgspec.Struct], Fill | None]:
        """The struct of a list's elements, and what completes one."""
        name = leaf.field.name
        if name not in self.elements:
            inner = {f.name: f for f in leaf.field.record}
            self.elements[name] = _Compiler(f"{self.name}_{name}", inner, leaf.where.each or {}).build((), {})
        return self.elements[name]

    def _default(self, declared: Field) -> str:
        return self._object(default_of(declared, self.name))

    def _object(self, value: Any) -> str:
        name = f"o{len(self.objects)}"
        self.objects[name] = value
        return name

    def _line(self, line: str) -> None:
        self.lines.append(line)

    def _function(self) -> Fill | None:
        """The lines as a function; every name in them is made here or a declared field's attribute."""
        if not self.lines:
            return None
        source = "def fill(e):\n" + "".join(f"    {line}\n" for line in self.lines)
        exec(compile(source, f"<map of {self.name}>", "exec"), self.objects)
        fill: Fill = self.objects["fill"]
        return fill


def _put(root: _Place, path: tuple[str, ...], leaf: _Leaf) -> None:
    place = root
    for key in path:
        place = place.below.setdefault(key, _Place())
    place.leaves.append(leaf)


def _leaves(place: _Place) -> list[_Leaf]:
    return place.leaves + [leaf for below in place.below.values() for leaf in _leaves(below)]


def _struct(
    name: str,
    members: list[tuple[Any, ...]],
    renamed: Mapping[str, str],
    bases: tuple[type[msgspec.Struct], ...],
    namespace: Mapping[str, Any],
) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        "".join(part.capitalize() for part in name.split("_")),
        members,
        bases=bases or None,
        namespace=dict(namespace),
        module=__name__,
        rename=dict(renamed) or None,
        kw_only=True,
        gc=False,  # what JSON gives has no cycles
    )


def _reader(kind: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        return msgspec.convert(value, kind)

    return read


def _walk(value: Any, path: tuple[str, ...]) -> Any:
    """What stands under the keys; UNSET where there is nothing; ValueError through what is no object."""
    for key in path:
        if value is None or value is UNSET:
            return UNSET
        if value.__class__ is not dict:
            raise ValueError("a path leads through a value that is no object")
        value = value.get(key, UNSET)
    return value


def _missing() -> None:
    raise ValueError("a required field has no value")
