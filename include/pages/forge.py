"""Where a forge shows a commit of a repository."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

_SCP = re.compile(r"[^@/:\s]+@(?P<host>[A-Za-z0-9.-]+):(?P<path>(?!/)[^\s]+)")
"""``git@host:owner/repository.git``, Git's short form of an SSH address."""
_COMMITS = {"bitbucket.org": "commits"}
"""Hosts whose pages of commits are not below ``commit/``, as they are at GitHub, GitLab, Gitea and Forgejo."""


def commit_page(repository: str, commit: str) -> str:
    """The web page of a commit, for a repository with an HTTP or SSH address; empty if it has no page.

    The address carries neither credentials nor the port of SSH.
    """
    short = None if "://" in repository else _SCP.fullmatch(repository)
    if short:
        scheme, host, path = "https", short["host"], short["path"]
    else:
        try:
            parts = urlsplit(repository)
            port = parts.port
        except ValueError:
            return ""
        if parts.scheme not in ("http", "https", "ssh") or not parts.hostname:
            return ""
        scheme = "https" if parts.scheme == "ssh" else parts.scheme
        host = parts.hostname if port is None or parts.scheme == "ssh" else f"{parts.hostname}:{port}"
        path = parts.path
    path = path.strip("/").removesuffix(".git")
    if not path or not commit:
        return ""
    return f"{scheme}://{host}/{quote(path)}/{_COMMITS.get(host, 'commit')}/{quote(commit, safe='')}"
