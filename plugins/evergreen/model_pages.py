"""``/evergreen/ui``: the pages about models inside Airflow's web UI, and the Dag runs that can be started from them.

Whoever asks must be logged into Airflow. A model is shown to those who may read its monitoring Dag. An action calls
Airflow's own API with the person's own token, so Airflow decides whether it is allowed; it is only taken from a page of
this same server.
"""

from __future__ import annotations

import logging
from functools import lru_cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import sqlalchemy as sa
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi import Query as QueryParam

from evergreen.airflow_api import airflow_server
from evergreen.model_dags import spec_files
from include.adapters.spec_file import load_spec
from include.core.errors import AmbiguousIdError, ModelSpecError, UnknownIdError
from include.core.overview import ModelDetail
from include.core.spec import ModelSpec
from include.core.trace import KINDS
from include.pages.models import (
    Notice,
    Query,
    models_view,
    render_incident,
    render_message,
    render_model,
    render_models,
    render_rollout,
    render_trace,
    render_window,
)
from include.pages.place import STAGES, Place
from include.settings import PROJECT, Settings
from include.stages.installation import open_installation
from include.stages.overview import model_detail, overviews, rolled_back
from include.stages.trace import trace

log = logging.getLogger(__name__)
router = APIRouter(prefix="/ui")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ACTIONS = {
    "deploy": ("deployment", "version"),
    "roll_back": ("deployment", "to"),
    "retrain": ("training", "reason"),
    "check": ("ci", "ref"),
    "measure": ("monitoring", "window"),
}
"""Action → the stage whose Dag it starts, and the parameter that a person fills in."""
TICKED = {"deploy": "force", "roll_back": "rollback"}
"""Action → the parameter that is ticked: always for a rollback, on request for a deployment."""


@router.get("/static/page.js", dependencies=[Depends(get_user)])
def script() -> Response:
    """The pages' only script."""
    return Response(
        (PROJECT / "include/pages/static/page.js").read_bytes(), media_type="text/javascript", headers=HEADERS
    )


@router.get("/models")
def models(
    request: Request, user: GetUserDep, q: str = "", state: str = "", sort: str = "state", page: int = 1
) -> Response:
    """All models that the person may read."""
    specs, problems = _readable_models(user)
    installation = open_installation()
    found = overviews(installation, specs, _paused())
    view = models_view(found, Query(q, state, sort, page), problems, {})
    outcomes = rolled_back(installation, view.shown)
    return _page(render_models(_place(request), models_view(found, view.query, problems, outcomes)))


@router.get("/dags/{dag_id}")
def page_of_dag(request: Request, user: GetUserDep, dag_id: str) -> Response:
    """The model's page, for the tab of a Dag."""
    model, _, stage = dag_id.rpartition(".")
    if stage not in STAGES:
        raise HTTPException(404, "this Dag belongs to no model of Evergreen")
    return model_page(request, user, model)


@router.get("/models/{model}")
def model_page(request: Request, user: GetUserDep, model: str, dag: str = "", run: str = "") -> Response:
    """One model; ``dag`` and ``run`` name the run that an action has just started."""
    known = dag.startswith(f"{model}.") and dag.rpartition(".")[2] in STAGES
    notice = Notice("Started:" if run else "Done.", dag, run) if known else None
    return _model_page(request, user, model, notice)


@router.get("/models/{model}/windows/{window}")
def window_page(request: Request, user: GetUserDep, model: str, window: str) -> Response:
    """One window's health."""
    return _found(render_window(_place(request), _detail(user, model), window), f"{model} has no window {window}")


@router.get("/models/{model}/incidents/{key}")
def incident_page(request: Request, user: GetUserDep, model: str, key: str) -> Response:
    """One incident."""
    return _found(render_incident(_place(request), _detail(user, model), key), f"{model} has no incident {key}")


@router.get("/models/{model}/rollouts/{run:path}")
def rollout_page(request: Request, user: GetUserDep, model: str, run: str) -> Response:
    """The rollout that a run of the deployment Dag made."""
    return _found(render_rollout(_place(request), _detail(user, model), run), f"{model}: run {run} rolled nothing out")


@router.get("/trace/{wanted:path}")
def trace_of(request: Request, user: GetUserDep, wanted: str, model: str = "", kind: str = "") -> Response:
    """The chain that an id belongs to."""
    return trace_page(request, user, wanted, model, kind)


@router.get("/trace")
def trace_page(
    request: Request,
    user: GetUserDep,
    asked: Annotated[str, QueryParam(alias="id", max_length=500)] = "",
    model: str = "",
    kind: str = "",
) -> Response:
    """The chain that an id belongs to, among the models that the person may read; without an id, the form."""
    specs, _ = _readable_models(user)
    names = [spec.name for spec in specs]
    show = partial(render_trace, _place(request), names, asked=asked, model=model, kind=kind)
    if not asked.strip():
        return _page(show())
    wanted = next((each for each in KINDS if each == kind), None)
    try:
        found = trace(open_installation(), specs, asked, model=model, kind=wanted)
    except (UnknownIdError, AmbiguousIdError) as error:
        status = 404 if isinstance(error, UnknownIdError) else 300
        return _page(show(problem=str(error)), status)
    return _page(show(trace=found))


@router.post("/models/{model}/actions")
def act(
    request: Request,
    user: GetUserDep,
    model: str,
    action: Annotated[str, Form()],
    value: Annotated[str, Form(max_length=500)] = "",
    ticked: Annotated[bool, Form()] = False,
) -> Response:
    """Start the Dag of an action, or pause or resume the model's Dags, as the person who asks."""
    _require_own_page(request)
    _spec_for(user, model)
    token = _token(request)
    with httpx.Client(base_url=airflow_server(), timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        if action in ("pause", "resume"):
            dag, run, answer = f"{model}.monitoring", "", _pause(client, model, paused=action == "pause")
        elif action in ACTIONS:
            stage, parameter = ACTIONS[action]
            dag = f"{model}.{stage}"
            conf: dict[str, object] = {parameter: value.strip() or None}
            if action in TICKED:
                conf[TICKED[action]] = ticked or action == "roll_back"
            body = {
                "logical_date": None,
                "conf": conf,
                "note": f"Started by {user.get_name()} from the page of {model}.",
            }
            answer = client.post(f"/api/v2/dags/{quote(dag, safe='')}/dagRuns", json=body)
            run = str(answer.json().get("dag_run_id", "")) if answer.is_success else ""
        else:
            raise HTTPException(
                400, f"unknown action: {action[:50]}. Use one of: {', '.join([*ACTIONS, 'pause', 'resume'])}"
            )
    if answer.is_error:
        notice = Notice(_reason(answer), bad=True)
        return _model_page(request, user, model, notice, answer.status_code)
    target = f"{_place(request).model(model)}?{urlencode({'dag': dag, 'run': run})}"
    return Response(status_code=303, headers={**HEADERS, "Location": target})


def error_page(request: Request, error: HTTPException) -> Response | None:
    """An error as a page, if a person asked for one of these pages; else None."""
    own = request.url.path.removeprefix(request.scope.get("root_path", "")).startswith(router.prefix)
    if not own or "text/html" not in request.headers.get("accept", ""):
        return None
    place = _place(request)
    anonymous = error.status_code == 401
    login = f"{place.airflow}/auth/login?{urlencode({'next': request.url.path})}" if anonymous else ""
    text = "These pages are for people who are logged into Airflow." if anonymous else str(error.detail)
    return _page(render_message(place, HTTPStatus(error.status_code).phrase, text, login), error.status_code)


def _model_page(request: Request, user: Any, model: str, notice: Notice | None = None, status: int = 200) -> Response:
    paused = model in _paused()
    detail = _detail(user, model, paused=paused)
    page = render_model(_place(request), detail, allowed=_may_start(user, model), paused=paused, notice=notice)
    return _page(page, status)


def _page(html: str, status: int = 200) -> Response:
    return Response(html, status, HEADERS, "text/html")


def _found(html: str | None, missing: str) -> Response:
    if html is None:
        raise HTTPException(404, f"{missing}. It may have been removed, or never have been there.")
    return _page(html)


def _place(request: Request) -> Place:
    """Below the path under which Airflow is served."""
    airflow = str(request.scope.get("root_path", "")).removesuffix("/evergreen")
    return Place(airflow, Settings.from_environment().mlflow_ui)


def _detail(user: Any, model: str, *, paused: bool = False) -> ModelDetail:
    return model_detail(open_installation(), _spec_for(user, model), paused)


def _spec_for(user: Any, model: str) -> ModelSpec:
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


def _readable_models(user: Any) -> tuple[list[ModelSpec], list[str]]:
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


def _paused() -> set[str]:
    """The models whose monitoring Dag is paused."""
    with create_session() as session:
        paused = session.scalars(sa.select(DagModel.dag_id).where(DagModel.is_paused)).all()
    return {dag.removesuffix(".monitoring") for dag in paused if dag.endswith(".monitoring")}


def _may_start(user: Any, model: str) -> bool:
    return get_auth_manager().is_authorized_dag(
        method="POST",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=f"{model}.deployment"),
        user=user,
    )


def _require_own_page(request: Request) -> None:
    """Refuse a form that another site's page sends with the person's cookie."""
    if request.headers.get("authorization"):
        return
    origin = urlsplit(request.headers.get("origin", "")).netloc
    if not origin or origin != request.headers.get("host"):
        raise HTTPException(403, "actions are only taken from Evergreen's own pages")


def _token(request: Request) -> str:
    """The token that the person came with."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given if scheme.lower() == "bearer" else request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")


def _pause(client: httpx.Client, model: str, *, paused: bool) -> httpx.Response:
    """Pause or resume all Dags of the model; the first error, or the last answer."""
    for stage in STAGES:
        path = f"/api/v2/dags/{quote(f'{model}.{stage}', safe='')}"
        answer = client.patch(path, params={"update_mask": "is_paused"}, json={"is_paused": paused})
        if answer.is_error:
            break
    return answer


def _reason(answer: httpx.Response) -> str:
    """Why Airflow refused."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.text
    return f"Airflow refused ({answer.status_code}): {detail}"[:500]
