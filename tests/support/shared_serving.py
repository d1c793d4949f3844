"""A place to deploy to that the modules of a group use one after the other: it takes minutes to make with images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.engines import Home, docker_engine
from tests.support.real_repository import RealRepository
from tests.support.serving import Serving

_PLACES: dict[str, tuple[Home, Serving]] = {}
"""By engine; the present group's."""


@contextmanager
def serving_with(engine: str, environments: Path, until_group_ends: ExitStack) -> Iterator[Serving]:
    """The group's place with this engine; ``environments`` is kept from run to run."""
    if engine not in _PLACES:
        _PLACES[engine] = _new_place(engine, environments, until_group_ends)
    home, serving = _PLACES[engine]
    with home.entered():
        yield serving


def _new_place(engine: str, environments: Path, until_group_ends: ExitStack) -> tuple[Home, Serving]:
    home = Home(engine)
    with ExitStack() as stack:
        stack.callback(home.remove)
        with home.entered():
            if engine == "docker":
                docker_engine().prepare_host()
            (home.path / "environments").symlink_to(environments)
            serving = Serving(RealRepository(home.path / "git"))
        stack.callback(serving.close)
        stack.callback(_PLACES.pop, engine)
        until_group_ends.push(stack.pop_all())
    return home, serving
