"""Commits are linked to the forge that hosts them, and nothing else of a repository's address gets out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.plain_text import without_credentials
from include.pages.forge import commit_page


@pytest.mark.parametrize(
    ("repository", "page"),
    [
        ("https://github.com/tides/level.git", "https://github.com/tides/level/commit/abc"),
        ("https://github.com/tides/level/", "https://github.com/tides/level/commit/abc"),
        ("git@gitlab.com:group/sub/level.git", "https://gitlab.com/group/sub/level/commit/abc"),
        ("ssh://git@forge.example:2222/tides/level.git", "https://forge.example/tides/level/commit/abc"),
        ("http://forge.example:3000/tides/level", "http://forge.example:3000/tides/level/commit/abc"),
        ("https://ann:secret@forge.example/tides/level.git", "https://forge.example/tides/level/commit/abc"),
        ("https://bitbucket.org/tides/level.git", "https://bitbucket.org/tides/level/commits/abc"),
        ("https://forge.example/größe/a b.git", "https://forge.example/gr%C3%B6%C3%9Fe/a%20b/commit/abc"),
    ],
)
def test_a_hosted_repository_has_a_page_for_each_commit(repository: str, page: str) -> None:
    assert commit_page(repository, "abc") == page


@pytest.mark.parametrize(
    "repository",
    [
        "repositories/tides.git",
        "/srv/git/tides.git",
        "file:///srv/git/tides.git",
        "C:\\git\\tides",
        "javascript:alert(1)//x",
        "https://",
        "https://forge.example",
        "https://forge.example:port/x",
        "http://[::1/x",
        "",
    ],
)
def test_what_no_forge_hosts_has_no_page(repository: str) -> None:
    assert commit_page(repository, "abc") == ""


@given(st.text(), st.text())
def test_a_page_is_always_on_the_web_and_quoted(repository: str, commit: str) -> None:
    page = commit_page(repository, commit)
    assert page == "" or page.startswith(("https://", "http://"))
    assert not set(page) & set("\"'<> \n")


@pytest.mark.parametrize(
    "text, shown",
    [
        ("https://example.com/a.git", "https://example.com/a.git"),
        ("https://user:secret@example.com/a.git", "https://example.com/a.git"),
        ("https://secret@example.com/a.git", "https://example.com/a.git"),
        ("https://@example.com/a.git", "https://example.com/a.git"),
        ("https://user:se@cret@example.com/a.git", "https://example.com/a.git"),
        ("https://example.com/a@b.git", "https://example.com/a@b.git"),
        ("https://example.com/a.git?mail=a@b.c", "https://example.com/a.git?mail=a@b.c"),
        ("fatal: https://u:p@one.net/a: no, https://two.net", "fatal: https://one.net/a: no, https://two.net"),
        ("at https://one.net, ask it@example.com", "at https://one.net, ask it@example.com"),
        ("git@example.com:team/a.git", "git@example.com:team/a.git"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_no_password_is_in_what_is_shown_and_all_else_is(text: str, shown: str) -> None:
    """Messages and images' labels had a rule of their own each; both left the rest of a password with an @ in it."""
    assert without_credentials(text) == shown
