"""Delivers notifications over Airflow's connections: to a webhook, or as mail."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.core.notification import Notification

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

CONNECTIONS = ("evergreen_alerts", "evergreen_alerts_mail")
"""Each is a webhook, or of the type ``smtp``; one that does not exist or has no host is skipped."""
SECONDS = 10


def deliver(notification: Notification) -> bool:
    """Deliver to each connection of CONNECTIONS that has a host; returns whether any of them accepted it.

    Never raises: what can't be delivered is logged as an error, without the address, which may be a secret.
    """
    accepted = [_deliver(name, notification) for name in CONNECTIONS]
    return any(accepted)


def _deliver(name: str, notification: Notification) -> bool:
    from include.adapters.airflow_connections import find_connection

    try:
        connection = find_connection(name)
        if connection is None or not connection.host:
            return False
        if connection.conn_type == "smtp":
            _mail(name, connection, notification)
        else:
            _post(connection, notification)
    except Exception as error:
        log.error("could not notify through the connection '%s': %s. %s", name, _problem(error), notification.title)
        return False
    return True


def _post(connection: Connection, notification: Notification) -> None:
    """Post ``{"text": …}``, the format of Slack's incoming webhooks, which others accept too."""
    import requests

    url = str(connection.host)
    slack = urlsplit(url).hostname == "hooks.slack.com" or connection.extra_dejson.get("format") == "slack"
    text = notification.as_slack() if slack else notification.as_text()
    requests.post(url, json={"text": text}, timeout=SECONDS).raise_for_status()


def _mail(name: str, connection: Connection, notification: Notification) -> None:
    """Send a mail with Airflow's SMTP hook. Its notifier would render the text, which others wrote, as a template."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    extra = connection.extra_dejson
    missing = [key for key in ("to", "from_email") if not extra.get(key)]
    if missing:
        raise ValueError(f"its extra lacks {' and '.join(missing)}; see docs/monitoring.md")
    with SmtpHook(smtp_conn_id=name, auth_type=extra.get("auth_type", "basic")) as hook:
        hook.send_email_smtp(to=extra["to"], subject=notification.title, html_content=notification.as_html())


def _problem(error: Exception) -> str:
    """What went wrong. The messages of requests contain the URL, and that of a webhook is its password."""
    from requests import HTTPError, RequestException

    if isinstance(error, HTTPError) and error.response is not None:
        return f"it responded with status {error.response.status_code}"
    if isinstance(error, RequestException):
        return f"{type(error).__name__}; is its host a URL, such as https://hooks.example/alerts, that responds?"
    return f"{type(error).__name__}: {error}"
