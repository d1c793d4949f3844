"""Who may see and do what on the pages about models: Airflow decides, by its Dags."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import HTTPException, Request

from evergreen.model_dags import spec_files
from include.adapters.spec_file import load_spec
from include.core.errors import ModelSpecError
from include.core.spec import ModelSpec


def spec_for(user: Any, model: str) -> ModelSpec:
    """The model's spec; 404 if there is no such model, also for those who may not read it."""
    path = next((path for path in spec_files() if path.parent.name == model), None)
    allowed = path and get_auth_manager().is_authorized_dag(
        method="GET", details=DagDetails(id=f"{model}.monitoring"), user=user
    )
    if not path or not allowed:
        raise HTTPException(404, f"there is no model '{model[:80]}' that you may read")
    spec = _cached(path)
    if isinstance(spec, str):
        raise HTTPException(409, spec)
    return spec


def readable_models(user: Any) -> tuple[list[ModelSpec], list[str]]:
    """The specs of the models that the person may read, and the problems of those that are invalid."""
    allowed = get_auth_manager().get_authorized_dag_ids(user=user, method="GET")
    specs: list[ModelSpec] = []
    problems: list[str] = []
    for path in spec_files():
        spec = _cached(path)
        if isinstance(spec, str):  # its Dags may not exist, so nobody's permission can be asked
            problems.append(spec)
        elif f"{spec.name}.monitoring" in allowed:
            specs.append(spec)
    return specs, problems


def _cached(path: Path) -> ModelSpec | str:
    """The spec in a file, or why it is invalid; read again when the file has changed."""
    try:
        state = path.stat()
    except OSError as error:
        return f"{path.parent.name}/{path.name} can't be read: {error.strerror}"
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _read(path: Path, _changed: int, _size: int) -> ModelSpec | str:
    try:
        return load_spec(path)
    except ModelSpecError as error:
        return str(error)


def paused_models() -> set[str]:
    """The models whose monitoring Dag is paused."""
    with create_session() as session:
        paused = session.scalars(sa.select(DagModel.dag_id).where(DagModel.is_paused)).all()
    return {dag.removesuffix(".monitoring") for dag in paused if dag.endswith(".monitoring")}


def may_start(user: Any, model: str) -> bool:
    """Whether the person may start the model's Dags."""
    return get_auth_manager().is_authorized_dag(
        method="POST",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=f"{model}.deployment"),
        user=user,
    )


def require_own_page(request: Request) -> None:
    """Refuse a form that another site's page sends with the person's cookie."""
    if request.headers.get("authorization"):
        return
    origin = urlsplit(request.headers.get("origin", "")).netloc
    if not origin or origin != request.headers.get("host"):
        raise HTTPException(403, "actions are only taken from Evergreen's own pages")


def token_of(request: Request) -> str:
    """The token that the person came with."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given if scheme.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
