"""From a commit to a build: check it out, make its environment, check it, and record what came of it.

The checks are lint, test and contract; each runs confined in the build's own environment.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from include.adapters import git
from include.adapters.engines.environments import PreparedBuild, checkout_folder, discard_checkout, model_folder
from include.adapters.engines.job_output import job_folder, take_files
from include.adapters.engines.process.confinement import Completed
from include.adapters.engines.runtime_config import CheckJob, build_folder, model_block
from include.adapters.spec_file import load_spec
from include.core.build import Build, CheckReport, judge_build
from include.core.errors import EvergreenError, ModelSpecError, TrainingError
from include.core.spec import ModelSpec
from include.stages.installation import Installation

SAMPLE_ROWS = 500
LINT_SECONDS = 120
LARGEST_REPORT = 64 * 2**20
LARGEST_FILE_MB = 512
"""A check may write no larger file than this."""


@dataclass(frozen=True)
class Recorded:
    """A build that was judged, and whether the store learned of it now."""

    build: Build
    is_new: bool
    """False when this very build is the newest passed one already, and a watcher only saw its commit again."""


def check_out_commit(installation: Installation, spec: ModelSpec, ref: str = "") -> str:
    """Find the commit of a branch, tag or commit (default: the spec's branch), and put its files into a clean folder.

    Returns the full commit. Raises BuildError when it isn't there, PlatformError when the repository can't be reached.
    """
    commit = git.resolve_commit(installation.settings.home, spec.repository, ref)
    _check_out(installation, spec, commit)
    return commit


def build_environment(
    installation: Installation, spec: ModelSpec, commit: str, *, again: bool = False
) -> PreparedBuild:
    """Make the environment of a commit and its build, or take what is there; ``again`` resolves its requirements anew.

    After a crash at any moment, calling it again gives the complete build, also where the checkout is gone.
    """
    checkout = _check_out(installation, spec, commit)
    return installation.engine.prepare_build(spec, commit, checkout, again=again)


def run_check(
    installation: Installation, spec: ModelSpec, build_id: str, check: str, *, again: bool = False
) -> tuple[CheckReport, bool]:
    """The report of one of CHECKS, and whether it is that of an earlier run.

    A build that passed before is not checked again, unless ``again``.
    """
    for build in [] if again else installation.store.builds(spec.name):
        if build.build_id == build_id and build.status == "passed" and check in build.report:
            return build.report[check], True
    return CHECKS[check](installation, spec, build_id), False


def record_build(
    installation: Installation,
    model: str,
    commit: str,
    build_id: str,
    environment: str,
    reports: Mapping[str, CheckReport],
    *,
    run_id: str,
    watched: bool,
) -> Recorded:
    """Judge a commit by the reports of its checks, keep the build, and forget its checkout.

    ``build_id`` and ``environment`` are empty when no environment could be made. ``watched`` says that a watcher saw
    the commit; where it saw one again that is built already, nothing is recorded.
    """
    store = installation.store
    build = judge_build(model, commit, build_id, environment, reports, run_id)
    is_new = not (watched and _is_newest(store.builds(model), build))
    if is_new:
        store.record_build(build)
    discard_checkout(installation.settings, model, commit)
    return Recorded(build, is_new)


def lint(installation: Installation, spec: ModelSpec, build_id: str) -> CheckReport:
    """ruff, with the repository's own configuration if it has one."""
    build = build_folder(installation.settings, spec.name, build_id)
    code = model_folder(build / "code", spec)
    own = _own_configuration(code, build / "code", ("ruff.toml", ".ruff.toml"), ("tool", "ruff"))
    command = ["-m", "ruff", "check", "--no-cache", "--output-format=concise", *([] if own else ["--isolated"]), "."]
    report = build / "reports" / "ruff.txt"
    with _folders(build, "lint") as (given, left):
        done = _run(
            installation, spec, build_id, command, left, given / report.name, in_code=True, time_limit=LINT_SECONDS
        )
        _keep(given, report)
    lines = [line for line in done.output_tail.splitlines() if line.strip()]
    reason = "no findings" if done.code == 0 else _how_it_ended(spec, done) or "; ".join(lines[:3])
    return _report(installation, done.code == 0, reason, done.seconds, report)


def test(installation: Installation, spec: ModelSpec, build_id: str) -> CheckReport:
    """The model's own pytest suite. A suite without tests fails: there is nothing that it shows."""
    build = build_folder(installation.settings, spec.name, build_id)
    code = model_folder(build / "code", spec)
    files = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
    own = _own_configuration(code, build / "code", files, ("tool", "pytest"))
    seen = installation.engine.code(spec, build_id)
    alone = [] if own else ["-c", "/dev/null", f"--rootdir={seen}", f"--confcutdir={seen}"]
    report = build / "reports" / "pytest.xml"
    with _folders(build, "test") as (given, left):
        options = ["-q", "--color=no", "-p", "no:cacheprovider", f"--junitxml={left / report.name}", *alone]
        command = ["-m", "pytest", *options, "."]
        done = _run(installation, spec, build_id, command, left, given / "pytest.txt", in_code=True)
        _keep(given, report.with_suffix(".txt"))
        _keep(left, report)
    passed, reason = _judge_tests(spec, done, report)
    return _report(
        installation, passed, reason, done.seconds, report if report.exists() else report.with_suffix(".txt")
    )


def check_contract(installation: Installation, spec: ModelSpec, build_id: str) -> CheckReport:
    """The commit's model.yaml if it has one; then the estimator: builds, fits a sample, predicts the right shape,
    finite, and the same twice, and survives being saved."""
    build = build_folder(installation.settings, spec.name, build_id)
    report = build / "reports" / "contract.json"
    started = time.monotonic()
    mistake = _check_spec(spec, model_folder(build / "code", spec) / "model.yaml")
    if mistake:
        _write(report, {"answer": "fail", "reason": mistake, "checks": []})
        return _report(installation, False, mistake, time.monotonic() - started, report)
    with _folders(build, "contract") as (given, left):
        job = given / "check.json"
        sample = _sample(installation, spec, given)
        model = model_block(spec, installation.engine.code(spec, build_id))
        check: CheckJob = {"model": model, "sample": sample, "rows": SAMPLE_ROWS, "out": str(left / report.name)}
        _write(job, check)
        command = ["-m", "runtime.check", str(job)]
        done = _run(installation, spec, build_id, command, left, given / "contract.txt", readable=[given])
        _keep(given, report.with_suffix(".txt"))
        _keep(left, report)
    passed, reason = _judge_contract(spec, done, report)
    return _report(
        installation, passed, reason, done.seconds, report if report.exists() else report.with_suffix(".txt")
    )


CHECKS = {"lint": lint, "test": test, "check_contract": check_contract}
"""Every check that a build must pass, by the name of its task."""


def _check_out(installation: Installation, spec: ModelSpec, commit: str) -> Path:
    """The folder with the files of a commit; there is nothing to do where it is there."""
    home, folder = installation.settings.home, checkout_folder(installation.settings, spec.name, commit)
    return git.check_out(home, spec.repository, commit, folder)


def _is_newest(builds: Sequence[Build], build: Build) -> bool:
    """Whether this very build is the newest passed one of ``builds`` (newest first), made by another run."""
    newest = next((known for known in builds if known.status == "passed"), None)
    if newest is None or build.status != "passed":
        return False
    return newest.build_id == build.build_id and newest.run_id != build.run_id


def _run(
    installation: Installation,
    spec: ModelSpec,
    build_id: str,
    arguments: list[str],
    writable: Path,
    log: Path,
    **more: Any,
) -> Completed:
    options = {"writable": writable, "log": log, "file_mb": LARGEST_FILE_MB, **more}
    return installation.engine.run(spec, build_id, arguments, **options)


def _judge_tests(spec: ModelSpec, done: Completed, report: Path) -> tuple[bool, str]:
    ended = _how_it_ended(spec, done)
    if ended:
        return False, ended
    try:
        cases = list(ElementTree.fromstring(_read(report)).iter("testcase"))
    except (OSError, ValueError, ElementTree.ParseError):
        return False, f"pytest left no test report (exit code {done.code}): {_last_lines(done)}"
    wrong = [(case, what) for case in cases for what in case if what.tag in ("failure", "error")]
    if wrong:
        case, what = wrong[0]
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return False, f"{name}: {_first_words(what)}{more}"
    ran = [case for case in cases if case.find("skipped") is None]
    if not ran:
        return False, "there are no tests, or all are skipped. Add one, such as tests/test_model.py"
    if done.code != 0:
        return False, f"pytest ended with code {done.code}: {_last_lines(done)}"
    return True, f"{len(ran)} tests passed"


def _judge_contract(spec: ModelSpec, done: Completed, report: Path) -> tuple[bool, str]:
    ended = _how_it_ended(spec, done)
    if ended:
        return False, ended
    try:
        judged = json.loads(_read(report))
        answer, reason = judged["answer"], str(judged["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return False, f"the contract check left no report (exit code {done.code}): {_last_lines(done)}"
    if answer != "pass" or done.code != 0:
        return False, reason
    return True, reason


def _how_it_ended(spec: ModelSpec, done: Completed) -> str:
    """Why a command was ended from outside; empty when it ended by itself."""
    if done.limit == "time":
        return f"took longer than allowed ({done.seconds:.0f} s; training.time_limit_minutes in model.yaml)"
    if done.limit == "memory":
        return f"needed more than training.memory_mb ({spec.training.memory_mb}) of model.yaml"
    return f"was ended by signal {-done.code}" if done.code < 0 else ""


def _first_words(what: ElementTree.Element) -> str:
    """The assertion or exception: pytest marks its lines with E."""
    marked = [line[1:].strip() for line in (what.text or "").splitlines() if line.startswith("E ")]
    lines = marked or [line.strip() for line in (what.get("message") or what.text or "").splitlines() if line.strip()]
    return "; ".join(line for line in lines[:3] if line)[:500] or "no message"


def _last_lines(done: Completed) -> str:
    return "; ".join(line.strip() for line in done.output_tail.splitlines()[-3:] if line.strip())[:500] or "no output"


def _check_spec(spec: ModelSpec, file: Path) -> str:
    """What is wrong with the commit's own model.yaml; empty when it has none or nothing is wrong."""
    if not file.is_file():
        return ""
    with tempfile.TemporaryDirectory(prefix="evergreen-") as temporary:
        named = Path(temporary) / spec.name / "model.yaml"
        named.parent.mkdir()
        shutil.copyfile(file, named)
        try:
            load_spec(named)
        except ModelSpecError as error:
            return f"the commit's {error}"
    return ""


def _sample(installation: Installation, spec: ModelSpec, folder: Path) -> list[str]:
    """Rows of the newest partition of training data; none where there is no usable data yet."""
    from include.adapters.data.sources import newest_window, read_window

    columns = list(dict.fromkeys([spec.data.key, spec.data.event_time, *spec.feature_names, spec.target]))
    try:
        source, grain = spec.data.source, spec.monitoring.window
        home = installation.settings.home
        rows = read_window(home, source, newest_window(home, source, None), grain, columns)
    except (EvergreenError, OSError) as error:
        print(f"no sample of training data, so synthetic rows are used: {error}")
        return []
    path = folder / "sample.parquet"
    rows.head(SAMPLE_ROWS).to_parquet(path, index=False)
    return [str(path)]


def _own_configuration(code: Path, root: Path, files: tuple[str, ...], table: tuple[str, str]) -> bool:
    """Whether the repository configures the tool, between the model's folder and its root.

    Without this, tools search on upwards, outside of the commit.
    """
    folder = code
    while True:
        if any((folder / name).is_file() for name in files):
            return True
        project = folder / "pyproject.toml"
        if project.is_file():
            try:
                if table[1] in tomllib.loads(project.read_text(encoding="utf-8")).get(table[0], {}):
                    return True
            except (tomllib.TOMLDecodeError, UnicodeDecodeError):
                return True  # the tool itself says what is wrong with it
        if folder.resolve() == root.resolve():
            return False
        folder = folder.parent


@contextmanager
def _folders(build: Path, check: str) -> Iterator[tuple[Path, Path]]:
    """A folder of what a check is given and prints, and the only folder that it may write to."""
    reports = build / "reports"
    reports.mkdir(exist_ok=True)
    with job_folder(reports / f".{check}.given") as given, job_folder(reports / f".{check}") as left:
        yield given, left


def _keep(folder: Path, report: Path) -> None:
    """Take a file of a sensible size among the reports; otherwise there is none of that name."""
    try:
        take_files(folder, [report.name], report.parent, largest_bytes=LARGEST_REPORT)
    except TrainingError as error:
        print(error)
        report.unlink(missing_ok=True)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _write(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _report(installation: Installation, passed: bool, reason: str, seconds: float, file: Path) -> CheckReport:
    return {
        "answer": "pass" if passed else "fail",
        "reason": reason,
        "seconds": round(seconds, 2),
        "file": str(file),
        "isolation": installation.engine.isolation(),
    }
