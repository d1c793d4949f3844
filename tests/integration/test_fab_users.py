"""Users of Airflow's FAB auth manager, as compose.yaml has them: the same rights on the same pages, and Alertmanager's.

The other tests of pages have the users of the simple auth manager.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.shown_models import MODELS, fill
from tests.integration.test_model_pages import (
    test_actions_are_dag_runs_with_the_rights_of_who_asks,
    test_an_incident_is_acknowledged_by_those_who_may_start_runs,
    test_every_role_may_look,
    test_nobody_gets_in_without_a_name,
    test_pausing_stops_what_starts_by_itself_and_resuming_lets_it_go_on,
    test_what_airflow_refuses_is_said_on_the_page,
)
from tests.support.api_server import ApiServer, api_server
from tests.support.running_platform import short_folder

__all__ = [
    "test_actions_are_dag_runs_with_the_rights_of_who_asks",
    "test_an_incident_is_acknowledged_by_those_who_may_start_runs",
    "test_every_role_may_look",
    "test_nobody_gets_in_without_a_name",
    "test_pausing_stops_what_starts_by_itself_and_resuming_lets_it_go_on",
    "test_what_airflow_refuses_is_said_on_the_page",
]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

USERS = """
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from include.embedded.compose import make_users

make_users("password-of-admin", "old-password")
make_users("another", "password-of-alertmanager")
with get_application_builder() as builder:
    users = builder.sm
    for name in ("viewer", "user", "op"):
        role = users.find_role(name.title())
        assert users.add_user(name, name, "", f"{name}@localhost", role, f"password-of-{name}")
"""
"""What compose's initialization does when it runs twice, and what an administrator does."""


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with short_folder() as home, api_server(home, MODELS, fab_users=USERS) as running:
        fill(running.store)
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "dags/fares.retraining/dagRuns", 200),
        ("DELETE", "dags/fares.retraining/dagRuns/x", 403),
        ("GET", "connections", 403),
        ("GET", "variables", 403),
    ],
)
def test_alertmanager_may_start_runs_and_nothing_else(server: ApiServer, method: str, path: str, status: int) -> None:
    more = {"json": {"logical_date": None}} if method == "POST" else {}
    assert server.ask("alertmanager", method, f"/api/v2/{path}", **more).status_code == status


def test_initializing_again_keeps_the_administrators_password_and_changes_alertmanagers(server: ApiServer) -> None:
    assert server.log_in("admin", "password-of-admin").status_code == 201
    assert server.log_in("admin", "another").status_code == 401
    assert server.log_in("alertmanager", "old-password").status_code == 401
