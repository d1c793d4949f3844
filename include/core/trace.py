"""A trace: what a prediction, version, commit, snapshot or incident came from, and what came of it.

Plain values, which a command prints and a page renders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from include.core.json_types import JsonObject

Kind = Literal[
    "prediction",
    "release",
    "version",
    "training",
    "snapshot",
    "partition",
    "build",
    "commit",
    "window",
    "incident",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order of the chain, from the effect to its cause."""

FactValue = str | int | float | bool | None | tuple[str, ...] | Mapping[str, int]


@dataclass(frozen=True)
class Key:
    """What identifies a node; its kind, and an id that is unique for that kind and model."""

    kind: Kind
    model: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.model} {self.id}"


@dataclass(frozen=True)
class Edge:
    """An arrow from a node to another one: ``version --trained by--> training``."""

    relation: str
    to: Key


@dataclass(frozen=True)
class Node:
    """One thing in the chain, with what is known of it.

    ``id``, by kind: the request's id (the server's own, if it has one), ``production@7``, ``3``, the Dag run, the
    snapshot's hash, the window of the partition, the build, the commit, the window, the incident's key.
    """

    kind: Kind
    model: str
    id: str
    facts: Mapping[str, FactValue] = field(default_factory=dict)
    """Name → value, as they are to be shown; None is unknown."""
    edges: tuple[Edge, ...] = ()

    @property
    def key(self) -> Key:
        """What identifies it."""
        return Key(self.kind, self.model, self.id)


@dataclass(frozen=True)
class Trace:
    """The nodes that an id leads to, ordered by kind as in KINDS; an edge may lead to a node that is not among them."""

    asked: str
    """The id as it was given."""
    meaning: str
    """What the id is, such as "commit"."""
    starts: tuple[Key, ...]
    """The nodes that have this id; several builds may have the same environment."""
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    """What could not be read, or was left out, in sentences."""

    def of_kind(self, kind: Kind) -> tuple[Node, ...]:
        """Its nodes of one kind."""
        return tuple(node for node in self.nodes if node.kind == kind)

    def as_dict(self) -> JsonObject:
        """JSON values."""
        return {
            "asked": self.asked,
            "meaning": self.meaning,
            "starts": [_key_as_dict(key) for key in self.starts],
            "nodes": [
                {
                    **_key_as_dict(node.key),
                    "facts": {name: _plain(value) for name, value in node.facts.items()},
                    "edges": [{"relation": edge.relation, "to": _key_as_dict(edge.to)} for edge in node.edges],
                }
                for node in self.nodes
            ],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class FoundRequest:
    """A logged request; each of its lists has one value per row."""

    request_id: str
    """The client's id, or the server's if the client gave none."""
    server_request_id: str
    """The server's own; empty in what servers of earlier releases logged."""
    received: float
    """When it was predicted (epoch seconds)."""
    version: str
    release: str
    """The release in which its server was started, such as ``production@7``."""
    keys: tuple[str, ...]
    event_times: tuple[datetime, ...]
    """Naive UTC."""
    predictions: tuple[float, ...]
    place: str
    """The file in which it was found, and where; relative to the prediction log or the lake."""
    gathered: bool

    @property
    def own_id(self) -> str:
        """The server's id, or the client's if the server logged none."""
        return self.server_request_id or self.request_id

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells it from other requests, wherever it was found."""
        return same_request(self.request_id, self.server_request_id, self.received, self.version)


def same_request(request_id: str, own_id: str | None, received: float, version: str) -> tuple[object, ...]:
    """What tells a logged request from others: the server's own id, or what there is of an earlier release's."""
    return (own_id,) if own_id else (request_id, received, version)


def _key_as_dict(key: Key) -> dict[str, str]:
    return {"kind": key.kind, "model": key.model, "id": key.id}


def _plain(value: FactValue) -> object:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value
