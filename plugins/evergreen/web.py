"""Evergreen's routes in Airflow's api-server. All require authentication.

``/evergreen/ui`` has the pages for people (:mod:`evergreen.model_pages`).
``GET /evergreen/metrics`` is for Prometheus and requires the bearer token, like the gateway and the model servers.
``POST /evergreen/alerts`` is for Alertmanager and requires the name and password of an Airflow user who may start runs
of ``<model>.retraining``: the route logs in as that user and calls Airflow's own API, which checks the permission.
``GET /evergreen/runbooks/<alert>.md`` is for people, who must be logged in to the web UI: alerts link to it.
"""

from __future__ import annotations

import hmac
import logging
import re
from typing import Annotated
from urllib.parse import urlencode

import httpx
from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from pydantic import BaseModel, Field

from evergreen import model_pages
from evergreen.airflow_api import airflow_server
from evergreen.model_dags import spec_files
from include.core.json_types import JsonObject
from include.settings import PROJECT, Settings

RUNBOOKS = PROJECT / "docs" / "runbooks"
log = logging.getLogger(__name__)
app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
app.include_router(model_pages.router)


@app.exception_handler(HTTPException)
async def answer_error(request: Request, error: HTTPException) -> Response:
    """Errors as FastAPI answers them, except that people get a page."""
    return model_pages.error_page(request, error) or await http_exception_handler(request, error)


class Alert(BaseModel):
    """The fields used of an alert in Alertmanager's webhook, version 4."""

    status: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    started_at: str = Field(alias="startsAt")
    fingerprint: str = ""


class Notification(BaseModel):
    """The body of Alertmanager's webhook."""

    alerts: list[Alert]


def require_token(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Require the prediction token."""
    expected = Settings.from_environment().secret("prediction_token").encode()
    if credentials is None or not hmac.compare_digest(credentials.credentials.encode(), expected):
        raise HTTPException(401, "send the header 'Authorization: Bearer <token>'", {"WWW-Authenticate": "Bearer"})


@app.get("/metrics", dependencies=[Depends(require_token)])
def metrics() -> Response:
    """Health, verdicts, releases and incidents of every model; heartbeats, runs and queues of Airflow; the disk."""
    from evergreen.airflow_metrics import add_airflow
    from evergreen.model_dags import readable_specs
    from evergreen.model_metrics import model_pages
    from include.adapters.removal import disk_used
    from include.observability.exposition import CONTENT_TYPE, Exposition, merged
    from include.observability.health_metrics import add_disk
    from include.stages.installation import open_installation

    page, installation = Exposition(), open_installation()
    specs, _ = readable_specs()
    add_airflow(page, specs)
    add_disk(page, disk_used(installation.settings.home))
    return Response(merged([*model_pages(installation, specs), page.page()]), media_type=CONTENT_TYPE)


@app.get("/runbooks/{name}", dependencies=[Depends(get_user)])
def runbook(name: str) -> Response:
    """A runbook as text; links in alerts open it."""
    path = {path.name: path for path in RUNBOOKS.glob("*.md")}.get(name)
    if path is None:
        raise HTTPException(404, "there is no such runbook; docs/monitoring.md lists them")
    text = path.read_text(encoding="utf-8")
    return Response(text, media_type="text/plain; charset=utf-8", headers={"X-Content-Type-Options": "nosniff"})


@app.get("/trace/{wanted:path}", dependencies=[Depends(get_user)])
def trace(request: Request, wanted: str) -> RedirectResponse:
    """The short address of a trace, for messages and mails."""
    query = urlencode({**request.query_params, "id": wanted})
    return RedirectResponse(f"{request.scope.get('root_path', '')}/ui/trace?{query}")


@app.post("/alerts")
def alerts(body: Notification, user: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> dict[str, str]:
    """Start ``<model>.retraining`` for each firing alert; returns the outcome by run id.

    The run applies the policy, as after each monitoring run: an alert starts no training that the policy would not
    start. An alert that is sent again does not start a second run.
    """
    models = {path.parent.name for path in spec_files()}
    wanted = [alert for alert in body.alerts if alert.status == "firing" and alert.labels.get("model") in models]
    with httpx.Client(base_url=airflow_server(), timeout=20) as client:
        client.headers["Authorization"] = f"Bearer {_log_in(client, user)}"
        return {f"{_dag(alert)} {_run(alert)}": _start(client, alert) for alert in wanted}


def _log_in(client: httpx.Client, user: HTTPBasicCredentials) -> str:
    answer = client.post("/auth/token", json={"username": user.username, "password": user.password})
    if answer.status_code != 201:
        raise HTTPException(401, "unknown Airflow user or wrong password", {"WWW-Authenticate": "Basic"})
    return str(answer.json()["access_token"])


def _start(client: httpx.Client, alert: Alert) -> str:
    note = f"Alert {alert.labels.get('alertname', '')}: {alert.annotations.get('summary', '')}"[:1000]
    run: JsonObject = {"dag_run_id": _run(alert), "logical_date": None, "conf": {}, "note": note}
    answer = client.post(f"/api/v2/dags/{_dag(alert)}/dagRuns", json=run)
    log.info("%s %s: %s", _dag(alert), _run(alert), answer.status_code)
    if answer.status_code == 409:
        return "already exists"
    if answer.is_error:
        raise HTTPException(answer.status_code, f"{_dag(alert)} could not be started: {answer.text[:500]}")
    return "started"


def _dag(alert: Alert) -> str:
    return f"{alert.labels['model']}.retraining"


def _run(alert: Alert) -> str:
    """One run id per firing alert, however often Alertmanager sends it."""
    name = f"alert__{alert.labels.get('alertname', '')}__{alert.started_at}__{alert.fingerprint}"
    return re.sub(r"[^\w.~:-]", "-", name)[:200]
