"""Git, against real repositories on disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from include.adapters.git import check_out, newest_commit, repository_url, resolve_commit
from include.core.errors import BuildError, PlatformError
from include.core.spec import Repository
from tests.real_repository import RealRepository


@pytest.fixture
def repository(tmp_path: Path) -> RealRepository:
    return RealRepository(tmp_path)


def test_a_relative_url_is_below_home_and_other_urls_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    assert repository_url(Repository(url="repositories/a.git")) == str(tmp_path / "repositories/a.git")
    for url in ("https://example.com/a.git", "git@example.com:team/a.git", "/srv/a.git"):
        assert repository_url(Repository(url=url)) == url


def test_branch_tag_full_and_short_commit_all_resolve(repository):
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "--annotate", "--message=one", "v1")
    repository.git("push", "--quiet", str(repository.bare), "v1")
    second = repository.commit({"model.py": "VALUE = 2\n"})
    assert resolve_commit(repository.spec) == second
    assert resolve_commit(repository.spec, "main") == second
    assert resolve_commit(repository.spec, "v1") == first, "an annotated tag must give its commit, not the tag object"
    assert resolve_commit(repository.spec, first) == first
    assert resolve_commit(repository.spec, first[:9]) == first
    assert asyncio.run(newest_commit(str(repository.bare), "main")) == second


def test_an_older_commit_is_checked_out_exactly_and_without_a_repository_around_it(repository, tmp_path):
    first = repository.git("rev-parse", "HEAD")
    repository.commit({"model.py": "VALUE = 2\n", "new.py": ""})
    folder = check_out(repository.spec, first, tmp_path / "out" / first)
    assert (folder / "model.py").read_text() == "VALUE = 1\n"
    assert sorted(path.name for path in folder.iterdir()) == ["model.py"]
    assert [path.name for path in folder.parent.iterdir()] == [first], "temporary folders must not stay"


def test_a_checkout_that_is_there_is_not_fetched_again(repository, tmp_path):
    commit = repository.git("rev-parse", "HEAD")
    folder = check_out(repository.spec, commit, tmp_path / "out")
    gone = Repository(url=str(tmp_path / "gone.git"))
    assert check_out(gone, commit, folder) == folder


@pytest.mark.parametrize("ref", ["nothing-like-it", "deadbee", "a" * 40])
def test_a_ref_that_is_not_there_says_so_and_is_not_worth_a_retry(repository, tmp_path, ref):
    with pytest.raises(BuildError, match="no branch, tag or commit"):
        check_out(repository.spec, resolve_commit(repository.spec, ref), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ref", ["--upload-pack=touch /tmp/x", "a..b", "a b", "-x"])
def test_a_ref_can_not_be_an_option_of_git(repository, ref):
    with pytest.raises(BuildError, match="not the name of"):
        resolve_commit(repository.spec, ref)


def test_a_repository_that_is_gone_is_the_users_to_correct(tmp_path):
    gone = Repository(url=str(tmp_path / "gone.git"))
    with pytest.raises(BuildError, match=r"gone\.git.*repository\.url"):
        resolve_commit(gone)
    with pytest.raises(BuildError, match=r"gone\.git"):
        asyncio.run(newest_commit(str(tmp_path / "gone.git"), "main"))


def test_an_unreachable_server_is_worth_a_retry_and_no_password_is_shown():
    closed = Repository(url="http://user:secret@127.0.0.1:9/a.git")
    with pytest.raises(PlatformError) as raised:
        resolve_commit(closed)
    assert "can't be reached" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_protocols_that_run_programs_are_refused(tmp_path):
    with pytest.raises(BuildError, match="not allowed"):
        resolve_commit(Repository(url=f"ext::sh -c 'touch {tmp_path}/ran' ://"))
    assert not (tmp_path / "ran").exists()


def test_hooks_of_a_template_do_not_run(repository, tmp_path, monkeypatch):
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    config = tmp_path / "home" / ".gitconfig"
    config.parent.mkdir()
    config.write_text(f"[init]\n\ttemplateDir = {hooks.parent}\n")
    monkeypatch.setenv("HOME", str(config.parent))
    check_out(repository.spec, repository.git("rev-parse", "HEAD"), tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_a_link_that_leads_out_of_the_repository_is_refused(repository, tmp_path):
    (tmp_path / "secret").write_text("key")
    os.symlink(tmp_path / "secret", repository.work / "requirements.txt")
    commit = repository.push()
    with pytest.raises(BuildError, match=r"requirements\.txt is a link"):
        check_out(repository.spec, commit, tmp_path / "out")
    assert not (tmp_path / "out").exists()
