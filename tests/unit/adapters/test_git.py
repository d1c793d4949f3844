"""Git, against real repositories on disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from include.adapters.git import (
    author_of,
    check_out,
    newest_commit,
    repository_url,
    resolve_commit,
)
from include.core.errors import BuildError, PlatformError
from include.core.spec import Repository
from tests.support.real_repository import RealRepository

HOME = Path("/nowhere")
"""Where relative URLs are looked for; the repositories of these tests have absolute ones."""


@pytest.fixture
def repository(tmp_path: Path) -> RealRepository:
    return RealRepository(tmp_path)


def test_a_relative_url_is_below_home_and_other_urls_stay(tmp_path: Path) -> None:
    assert repository_url(tmp_path, Repository(url="repositories/a.git")) == str(tmp_path / "repositories/a.git")
    for url in ("https://example.com/a.git", "git@example.com:team/a.git", "/srv/a.git"):
        assert repository_url(tmp_path, Repository(url=url)) == url


def test_branch_tag_full_and_short_commit_all_resolve(repository: RealRepository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.git("tag", "--annotate", "--message=one", "v1")
    repository.git("push", "--quiet", str(repository.bare), "v1")
    second = repository.commit({"model.py": "VALUE = 2\n"})
    assert resolve_commit(HOME, repository.spec) == second
    assert resolve_commit(HOME, repository.spec, "main") == second
    assert resolve_commit(HOME, repository.spec, "v1") == first, (
        "an annotated tag must give its commit, not the tag object"
    )
    assert resolve_commit(HOME, repository.spec, first) == first
    assert resolve_commit(HOME, repository.spec, first[:9]) == first
    assert asyncio.run(newest_commit(str(repository.bare), "main")) == second


def test_an_older_commit_is_checked_out_exactly_and_without_a_repository_around_it(
    repository: RealRepository, tmp_path: Path
) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.commit({"model.py": "VALUE = 2\n", "new.py": ""})
    folder = check_out(HOME, repository.spec, first, tmp_path / "out" / first)
    assert (folder / "model.py").read_text() == "VALUE = 1\n"
    assert sorted(path.name for path in folder.iterdir()) == ["model.py"]
    names = {path.name for path in folder.parent.iterdir()}
    assert names == {first, f"{first}.author"}, "temporary folders must not stay"


def test_a_checkout_that_is_there_is_not_fetched_again(repository: RealRepository, tmp_path: Path) -> None:
    commit = repository.git("rev-parse", "HEAD")
    folder = check_out(HOME, repository.spec, commit, tmp_path / "out")
    gone = Repository(url=str(tmp_path / "gone.git"))
    assert check_out(HOME, gone, commit, folder) == folder


@pytest.mark.parametrize("ref", ["nothing-like-it", "deadbee", "a" * 40])
def test_a_ref_that_is_not_there_says_so_and_is_not_worth_a_retry(
    repository: RealRepository, tmp_path: Path, ref: Any
) -> None:
    with pytest.raises(BuildError, match="no branch, tag or commit"):
        check_out(HOME, repository.spec, resolve_commit(HOME, repository.spec, ref), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ref", ["fix-#12", "größe", "feature/a@b", "we're=here", "a{b}", "50%", "日本"])
def test_every_name_that_git_allows_is_a_ref(repository: RealRepository, tmp_path: Path, ref: str) -> None:
    """Polling finds them all; by hand they were refused."""
    repository.git("checkout", "--quiet", "-b", ref)
    commit = repository.commit({"new": ref})
    repository.git("push", "--quiet", str(repository.bare), f"{ref}:{ref}")
    assert resolve_commit(HOME, repository.spec, ref) == commit
    assert asyncio.run(newest_commit(str(repository.bare), ref)) == commit
    assert (check_out(HOME, repository.spec, commit, tmp_path / "out") / "new").read_text() == ref


@pytest.mark.parametrize(
    "ref", ["--upload-pack=touch /tmp/x", "a..b", "a b", "-x", "a*", "a?b", "a\\b", "a.lock", "a:b"]
)
def test_a_ref_can_not_be_an_option_of_git(repository: RealRepository, ref: str) -> None:
    with pytest.raises(BuildError, match="not the name of"):
        resolve_commit(HOME, repository.spec, ref)


def test_a_repository_that_is_gone_is_the_users_to_correct(tmp_path: Path) -> None:
    gone = Repository(url=str(tmp_path / "gone.git"))
    with pytest.raises(BuildError, match=r"gone\.git.*repository\.url"):
        resolve_commit(HOME, gone)
    with pytest.raises(BuildError, match=r"gone\.git"):
        asyncio.run(newest_commit(str(tmp_path / "gone.git"), "main"))


def test_an_unreachable_server_is_worth_a_retry_and_no_password_is_shown() -> None:
    closed = Repository.model_construct(url="http://user:secret@127.0.0.1:9/a.git", branch="main", connection=None)
    with pytest.raises(PlatformError) as raised:
        resolve_commit(HOME, closed)
    assert "can't be reached" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_protocols_that_run_programs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not allowed"):
        resolve_commit(HOME, Repository(url=f"ext::sh -c 'touch {tmp_path}/ran' ://"))
    assert not (tmp_path / "ran").exists()


def test_hooks_of_a_template_do_not_run(
    repository: RealRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    config = tmp_path / "home" / ".gitconfig"
    config.parent.mkdir()
    config.write_text(f"[init]\n\ttemplateDir = {hooks.parent}\n")
    monkeypatch.setenv("HOME", str(config.parent))
    check_out(HOME, repository.spec, repository.git("rev-parse", "HEAD"), tmp_path / "out")
    assert not (tmp_path / "ran").exists()


def test_a_link_that_leads_out_of_the_repository_is_refused(repository: RealRepository, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    os.symlink(tmp_path / "secret", repository.work / "requirements.txt")
    commit = repository.push()
    with pytest.raises(BuildError, match=r"requirements\.txt is a link"):
        check_out(HOME, repository.spec, commit, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, way",
    [
        ("model.yaml", "absolute"),
        ("requirements.txt", "relative"),
        ("requirements.lock", "through another link"),
        ("pyproject.toml", "through /proc"),
        ("tests", "absolute"),
        ("src/deep", "through another link"),
    ],
)
def test_no_name_that_the_platform_reads_may_be_a_link_out(
    repository: RealRepository, tmp_path: Path, name: str, way: str
) -> None:
    """The platform itself reads these files of a commit, with all of its rights."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "token").write_text("key")
    link = repository.work / name
    link.parent.mkdir(exist_ok=True)
    if way == "through another link":
        os.symlink(tmp_path / "secrets", repository.work / "harmless")
        os.symlink("harmless/token" if link.parent == repository.work else "../harmless/token", link)
    else:
        targets = {
            "absolute": tmp_path / "secrets",
            "relative": "../" * 30 + str(tmp_path / "secrets")[1:],
            "through /proc": f"/proc/self/root{tmp_path / 'secrets'}",
        }
        os.symlink(str(targets[way]), link)
    commit = repository.push()
    with pytest.raises(BuildError, match="is a link that points outside the repository"):
        check_out(HOME, repository.spec, commit, tmp_path / "home" / "out")
    assert not (tmp_path / "home" / "out").exists()


def test_links_inside_the_repository_are_fine(repository: RealRepository, tmp_path: Path) -> None:
    repository.commit({"shared/model.yaml": "name: flights\n", "a/b.py": ""})
    os.symlink("shared/model.yaml", repository.work / "model.yaml")
    os.symlink("../shared", repository.work / "a" / "shared")
    os.symlink("nothing", repository.work / "dangling")
    checkout = check_out(HOME, repository.spec, repository.push(), tmp_path / "out")
    assert (checkout / "model.yaml").read_text() == "name: flights\n"
    assert (checkout / "a" / "shared" / "model.yaml").is_file()


def test_links_in_a_circle_are_named(repository: RealRepository, tmp_path: Path) -> None:
    os.symlink("two", repository.work / "one")
    os.symlink("one", repository.work / "two")
    with pytest.raises(BuildError, match="(one|two) is a link that is circular"):
        check_out(HOME, repository.spec, repository.push(), tmp_path / "out")


def test_a_link_may_not_count_on_the_name_of_the_checkouts_folder(repository: RealRepository, tmp_path: Path) -> None:
    """It would lead elsewhere once the checkout is copied into a build."""
    for name in ("files", "out", "code"):
        os.symlink(f"../{name}/model.py", repository.work / f"by-{name}")
        with pytest.raises(BuildError, match=f"by-{name} is a link"):
            check_out(HOME, repository.spec, repository.push(), tmp_path / "out")
        (repository.work / f"by-{name}").unlink()


def test_the_author_of_a_checkout_is_known_next_to_it(tmp_path: Path) -> None:
    repository = RealRepository(tmp_path)
    commit = repository.git("rev-parse", "HEAD")
    folder = check_out(tmp_path, repository.spec, commit, tmp_path / "checkouts" / commit)
    assert author_of(folder) == "Team"
    assert author_of(tmp_path / "checkouts" / "another") == ""
    assert not list(folder.glob("*.author")), "not among the commit's files"
