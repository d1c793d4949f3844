"""Git: the head of a branch, and exact checkouts, without hooks or prompts and without leaving credentials behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Hashable, Iterator
from pathlib import Path

from include.adapters.airflow_connections import git_hook
from include.core.errors import BuildError, EvergreenError, PlatformError
from include.core.plain_text import without_credentials
from include.core.spec import Repository

ASK_SECONDS = 30
MAX_AUTHOR = 100
FETCH_SECONDS = 600

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)")
"""What Git refuses in the name of a branch or tag (git check-ref-format)."""
_SCP = re.compile(r"[\w.-]+@[\w.-]+:")
_PERMANENT = re.compile(
    r"does not appear to be a git repository|repository .*not found|does not exist|not a git repository"
    r"|authentication failed|could not read username|permission denied|returned error: 40[134]|transport .* not allowed"
    r"|not our ref|couldn't find remote ref|reference is not a tree|dubious ownership",
    re.IGNORECASE,
)
_NETWORK = re.compile(
    r"could not resolve|failed to connect|connection (refused|timed out|reset)|operation timed out|no route to host"
    r"|network is unreachable|returned error: (5\d\d|429)|early eof|rpc failed|took longer than",
    re.IGNORECASE,
)
# Inherited from the platform's environment: the locations of programs, certificates, proxies and Git configuration.
_INHERITED = re.compile(
    r"PATH|HOME|XDG_CONFIG_HOME|SSL_CERT_(FILE|DIR)|GIT_SSL_CAINFO|SSH_AUTH_SOCK|(https?|no|all)_proxy", re.IGNORECASE
)
_SAFE = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "GIT_ALLOW_PROTOCOL": "file:http:https:ssh",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=15",
    "LC_ALL": "C",
}
_OPTIONS = ["core.hooksPath=/dev/null", "core.autocrlf=false", "core.fsmonitor=false", "gc.auto=0"]
_credentials = threading.Lock()


def repository_url(home: Path, repository: Repository) -> str:
    """The repository's URL; a relative path is relative to ``home``."""
    url = repository.url
    if "://" in url or _SCP.match(url) or os.path.isabs(url):
        return url
    return str(home / url)


def refs_state(url: str, branch: str) -> Hashable | None:
    """Differs once the branch of a repository in this machine's files has changed; None if it is elsewhere.

    A branch that is a symbolic reference to another one changes unnoticed.
    """
    if "://" in url or _SCP.match(url):
        return None
    names = (f"refs/heads/{branch}", "packed-refs", "reftable/tables.list")
    files = [_file_state(folder / name) for folder in (Path(url), Path(url, ".git")) for name in names]
    return tuple(files) if any(files) else None


def _file_state(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ino, state.st_size


async def newest_commit(url: str, branch: str, connection: str | None = None) -> str:
    """The head commit of a remote branch, read without blocking the event loop.

    Raises BuildError if the repository or branch does not exist, PlatformError if it can't be reached.
    """
    with contextlib.ExitStack() as stack:
        environment = await asyncio.to_thread(stack.enter_context, _environment(connection))
        process = await asyncio.create_subprocess_exec(
            *_git("ls-remote", "--", url, f"refs/heads/{branch}"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            output, error = await asyncio.wait_for(process.communicate(), ASK_SECONDS)
        except TimeoutError:
            raise _problem(url, f"git ls-remote took longer than {ASK_SECONDS} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode != 0:
        raise _problem(url, error.decode(errors="replace"))
    commit = output.decode().partition("\t")[0]
    if not _COMMIT.fullmatch(commit):
        raise _no_such_ref(url, branch)
    return commit


def resolve_commit(home: Path, repository: Repository, ref: str = "") -> str:
    """The full hash of a branch, tag or (short) commit; of the spec's branch if ``ref`` is empty.

    Raises BuildError if the ref or repository does not exist, PlatformError if it can't be reached.
    """
    url, ref = repository_url(home, repository), ref or repository.branch
    if _COMMIT.fullmatch(ref):
        return ref
    if _NO_REF.search(ref):
        raise BuildError(f"'{ref}' is not the name of a branch, tag or commit. Correct the 'ref' of the run.")
    with _environment(repository.connection) as environment:
        lines = _run(["ls-remote", "--", url], url, environment, ASK_SECONDS).splitlines()
        refs = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        for name in (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", ref):
            if name in refs:
                return refs[name]
        if re.fullmatch(r"[0-9a-f]{7,39}", ref):
            return _expand(url, ref, environment)
    raise _no_such_ref(url, ref)


def check_out(home: Path, repository: Repository, commit: str, folder: Path) -> Path:
    """Check out exactly this commit into ``folder``; an existing folder is complete and reused.

    The folder appears atomically and has no ``.git``. Raises BuildError if the commit is not in the repository or has
    links that point outside it, PlatformError if the repository can't be reached.
    """
    if folder.is_dir():
        return folder
    url = repository_url(home, repository)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".checkout-", dir=folder.parent))
    try:
        database = temporary / "database"
        # A random name, so that no link in the commit can point through it.
        files = Path(tempfile.mkdtemp(dir=temporary))
        with _environment(repository.connection) as environment:
            _run(["init", "--quiet", "--bare", str(database)], url, environment, ASK_SECONDS)
            _fetch(url, commit, database, environment)
        options = [f"--git-dir={database}", f"--work-tree={files}"]
        with _environment(None) as environment:
            _run([*options, "checkout", "--quiet", "--force", commit], url, environment, FETCH_SECONDS)
            author = _run([options[0], "log", "-1", "--format=%an", commit], url, environment, ASK_SECONDS)
        _refuse_links_out(files, url, commit)
        author_file(folder).write_text(author.strip()[:MAX_AUTHOR], encoding="utf-8")
        with contextlib.suppress(FileExistsError, OSError):
            files.rename(folder)
        if not folder.is_dir():
            raise PlatformError(f"{folder}: could not write the checkout. Check the disk and its permissions.")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def author_file(folder: Path) -> Path:
    """The file next to a checkout that has the name of the commit's author."""
    return folder.with_name(f"{folder.name}.author")


def author_of(folder: Path) -> str:
    """The author of the commit that was checked out into ``folder``; empty if it is not known."""
    try:
        return author_file(folder).read_text(encoding="utf-8")
    except OSError:
        return ""


def _fetch(url: str, commit: str, database: Path, environment: dict[str, str]) -> None:
    """Fetch one commit if the server allows that (most do), otherwise all branches and tags."""
    one = [f"--git-dir={database}", "fetch", "--quiet", "--no-tags", "--depth=1", "--", url, commit]
    everything = ["fetch", "--quiet", "--", url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    try:
        _run(one, url, environment, FETCH_SECONDS)
    except BuildError:
        _run([f"--git-dir={database}", *everything], url, environment, FETCH_SECONDS)
        try:
            _run([f"--git-dir={database}", "cat-file", "-e", f"{commit}^{{commit}}"], url, environment, ASK_SECONDS)
        except EvergreenError:
            raise _no_such_ref(url, commit) from None


def _expand(url: str, short: str, environment: dict[str, str]) -> str:
    with tempfile.TemporaryDirectory(prefix="evergreen-") as folder:
        git_dir = f"--git-dir={folder}"
        refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        _run(["init", "--quiet", "--bare", folder], url, environment, ASK_SECONDS)
        _run([git_dir, "fetch", "--quiet", "--", url, *refs], url, environment, FETCH_SECONDS)
        try:
            return _run(
                [git_dir, "rev-parse", "--verify", f"{short}^{{commit}}"], url, environment, ASK_SECONDS
            ).strip()
        except EvergreenError:
            raise _no_such_ref(url, short) from None


def _refuse_links_out(folder: Path, url: str, commit: str) -> None:
    root = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and (problem := _link_problem(path, root)):
            raise BuildError(
                f"{without_credentials(url)} at {commit[:12]}: {path.relative_to(folder)} is a link that "
                f"{problem}. Commit the file itself."
            )


def _link_problem(link: Path, root: Path) -> str:
    """What is wrong with a link; empty if it stays inside ``root``."""
    try:
        link.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is circular"
    return "" if link.resolve().is_relative_to(root) else "points outside the repository"


@contextlib.contextmanager
def _environment(connection: str | None) -> Iterator[dict[str, str]]:
    """The environment of a Git process: no secrets of the platform; with a connection, its credentials."""
    inherited = {name: value for name, value in os.environ.items() if _INHERITED.fullmatch(name)}
    if connection is None:
        yield {**inherited, **_SAFE}
        return
    remedy = "model.yaml names it as repository.connection: add it, or correct model.yaml."
    hook = git_hook(connection, remedy=remedy, error=BuildError)
    # The hook also changes os.environ while it is open, so only one may be open at a time.
    with _credentials, hook.configure_hook_env():
        yield {**inherited, **_SAFE, **hook.env}


def _git(*arguments: str) -> list[str]:
    return ["git", *(argument for option in _OPTIONS for argument in ("-c", option)), *arguments]


def _run(arguments: list[str], url: str, environment: dict[str, str], seconds: float) -> str:
    try:
        done = subprocess.run(
            _git(*arguments),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise PlatformError("git is not installed on this machine. Install it (Debian: apt install git).") from None
    except subprocess.TimeoutExpired:
        raise _problem(url, f"git took longer than {seconds:g} s") from None
    if done.returncode != 0:
        raise _problem(url, done.stderr)
    return done.stdout


def _problem(url: str, message: str) -> EvergreenError:
    """The error for a Git failure: BuildError if it is permanent, PlatformError if a retry may help."""
    shown = without_credentials(url)
    lines = [line.strip() for line in without_credentials(message).splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0] if lines else "no message")
    reason = first.partition(": ")[2] if first.startswith(("fatal:", "error:")) else first
    if _PERMANENT.search(message) and not _NETWORK.search(message):
        return BuildError(
            f"{shown}: {reason}. Check repository.url in model.yaml, that the repository exists, and "
            "repository.connection if it is private."
        )
    return PlatformError(f"{shown} can't be reached: {reason}. Check the network and the Git server.")


def _no_such_ref(url: str, ref: str) -> BuildError:
    return BuildError(
        f"{without_credentials(url)} has no branch, tag or commit '{ref}'. Push it, or correct repository.branch in "
        "model.yaml or the 'ref' of the run."
    )
