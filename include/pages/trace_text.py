"""A trace as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from include.core.trace import FactValue, Node, Trace

SHOWN_EDGES = 12
"""How many arrows of one kind a node shows."""


def trace_text(trace: Trace) -> str:
    """Each node with its facts, below it where its arrows lead to; the nodes with the id are marked with ``*``."""
    starts = ", ".join(f"{key.model} {key.id}" for key in trace.starts)
    lines = [f"{trace.asked}: {trace.meaning} {starts}"]
    for node in trace.nodes:
        lines += ["", *_node(node, marked=node.key in trace.starts)]
    if trace.notes:
        lines += ["", *trace.notes]
    return "\n".join(lines)


def _node(node: Node, *, marked: bool) -> list[str]:
    lines = [f"{'* ' if marked else '  '}{node.kind} {node.id} ({node.model})"]
    facts = {name: _shown(value) for name, value in node.facts.items()}
    lines += [f"      {name}: {text}" for name, text in facts.items() if text]
    by_relation: dict[str, list[str]] = {}
    for edge in node.edges:
        by_relation.setdefault(f"{edge.relation} {edge.to.kind}", []).append(edge.to.id)
    for relation, ids in by_relation.items():
        more = f", and {len(ids) - SHOWN_EDGES} more" if len(ids) > SHOWN_EDGES else ""
        lines.append(f"    -> {relation} {', '.join(ids[:SHOWN_EDGES])}{more}")
    return lines


def _shown(value: FactValue) -> str:
    """The value on one line; empty if it is unknown."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {number}" for name, number in value.items())
    text = "; ".join(value) if isinstance(value, tuple) else str(value)
    return text.replace("\r", " ").replace("\n", " ")
