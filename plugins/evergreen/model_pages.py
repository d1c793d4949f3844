"""``/evergreen/ui``: the pages about models inside Airflow's web UI, and the Dag runs that can be started from them.

Whoever asks must be logged into Airflow. A model is shown to those who may read its monitoring Dag. An action calls
Airflow's own API with the person's own token, so Airflow decides whether it is allowed; it is only taken from a page of
this same server.
"""

from __future__ import annotations

import logging
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import httpx
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi import Query as QueryParam

from evergreen.airflow_api import airflow_server
from evergreen.model_access import may_start, paused_models, readable_models, require_own_page, spec_for, token_of
from include.core.errors import AmbiguousIdError, UnknownIdError
from include.core.overview import ModelDetail
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
from include.stages.retraining import acknowledge

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
    specs, problems = readable_models(user)
    installation = open_installation()
    found = overviews(installation, specs, paused_models())
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
    page = render_incident(_place(request), _detail(user, model), key, allowed=may_start(user, model))
    return _found(page, f"{model} has no incident {key}")


@router.post("/models/{model}/incidents/{key}/acknowledge")
def acknowledge_incident(
    request: Request, user: GetUserDep, model: str, key: str, text: Annotated[str, Form(max_length=300)] = ""
) -> Response:
    """Record that the person who asks has seen the incident."""
    require_own_page(request)
    spec = spec_for(user, model)
    if not may_start(user, model):
        raise HTTPException(403, f"you may look at {model}, but not acknowledge its incidents")
    if not acknowledge(open_installation(), spec, key, str(user.get_name()), text):
        raise HTTPException(404, f"{model} has no incident {key[:80]}")
    target = _place(request).incident(model, key)
    return Response(status_code=303, headers={**HEADERS, "Location": target})


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
    specs, _ = readable_models(user)
    names = [spec.name for spec in specs]
    show = partial(render_trace, _place(request), names, asked=asked, model=model, kind=kind)
    if not asked.strip():
        return _page(show())
    from include.stages.trace import trace  # pandas and PyArrow, 65 MB, which no other page needs

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
    require_own_page(request)
    spec_for(user, model)
    token = token_of(request)
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
    paused = model in paused_models()
    detail = _detail(user, model, paused=paused)
    page = render_model(_place(request), detail, allowed=may_start(user, model), paused=paused, notice=notice)
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
    return model_detail(open_installation(), spec_for(user, model), paused)


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
