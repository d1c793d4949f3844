"""From a commit to a build: check it out, build its environment, run the checks, and record the outcome.

The checks are lint, test and contract; each runs confined in the build's own environment.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from include.adapters import git
from include.adapters.engines.environments import PreparedBuild, checkout_folder, discard_checkout, model_folder
from include.adapters.engines.job_output import job_folder, take_files
from include.adapters.engines.process.confinement import Completed
from include.adapters.engines.runtime_config import CheckJob, build_folder, model_block
from include.adapters.spec_file import load_spec
from include.adapters.untrusted_files import UntrustedFileError, read_json_object
from include.core.build import Build, CheckReport, EstimatorParameters, judge_build, read_parameters
from include.core.errors import EvergreenError, ModelSpecError, TrainingError
from include.core.health.false_incidents import in_words
from include.core.spec import ModelSpec
from include.core.typed_columns import kinds_of
from include.stages.choices import renew_choices
from include.stages.installation import Installation

log = logging.getLogger(__name__)

SAMPLE_ROWS = 500
LINT_SECONDS = 120
MAX_REPORT_BYTES, MAX_FILE_MB = 64 * 2**20, 512
"""The largest report that is read, and the largest file that a check may write."""
MAX_REASON = 2_000
"""Characters of a check's reason, which is written by the commit's code, that are kept."""


@dataclass(frozen=True)
class RecordedBuild:
    """A judged build, and whether it was added to the store."""

    build: Build
    is_new: bool
    """False if this build already is the newest passed one, and a watcher only saw its commit again."""


def check_out_commit(installation: Installation, spec: ModelSpec, ref: str = "") -> str:
    """Resolve a branch, tag or commit (default: the spec's branch), and check out its files into a clean folder.

    Returns the full commit. Raises BuildError if it does not exist, PlatformError if the repository can't be reached.
    """
    commit = git.resolve_commit(installation.settings.home, spec.repository, ref)
    _check_out(installation, spec, commit)
    return commit


def build_environment(
    installation: Installation, spec: ModelSpec, commit: str, *, again: bool = False
) -> PreparedBuild:
    """Build the environment of a commit, or reuse an existing one; ``again`` resolves its requirements again.

    Idempotent: called again after a crash, it completes the build, even if the checkout is gone.
    """
    checkout = _check_out(installation, spec, commit)
    return installation.engine.prepare_build(spec, commit, checkout, again=again)


def run_check(
    installation: Installation, spec: ModelSpec, build_id: str, check: str, *, again: bool = False
) -> tuple[CheckReport, bool]:
    """The report of one of CHECKS, and whether it was reused from an earlier run.

    A build that has already passed is not checked again, unless ``again`` is set.
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
) -> RecordedBuild:
    """Judge a commit by the reports of its checks, record the build, and delete its checkout.

    ``build_id`` and ``environment`` are empty if no environment could be built. ``watched``: the commit was reported by
    a watcher; if it is already built, nothing is recorded.
    """
    build = judge_build(model, commit, build_id, environment, reports, run_id)
    is_new = not (watched and _is_newest(installation.store.builds(model), build))
    if is_new:
        installation.store.record_build(build)
        renew_choices(installation, model, "builds")
    discard_checkout(installation.settings, model, commit)
    return RecordedBuild(build, is_new)


def lint(installation: Installation, spec: ModelSpec, build_id: str) -> CheckReport:
    """Run ruff, with the repository's own configuration if it has one."""
    build = build_folder(installation.settings, spec.name, build_id)
    code = model_folder(build / "code", spec)
    own = _own_configuration(code, build / "code", ("ruff.toml", ".ruff.toml"), ("tool", "ruff"))
    command = ["-m", "ruff", "check", "--no-cache", "--output-format=concise", *([] if own else ["--isolated"]), "."]
    report = build / "reports" / "ruff.txt"
    with _folders(build, "lint") as (inputs, outputs):
        done = installation.engine.run(
            spec,
            build_id,
            command,
            writable=outputs,
            log=inputs / report.name,
            in_code=True,
            time_limit=LINT_SECONDS,
            file_mb=MAX_FILE_MB,
        )
        _collect(inputs, report)
    lines = [line for line in done.output_tail.splitlines() if line.strip()]
    reason = "no findings" if done.code == 0 else _forced_end(spec, done) or "; ".join(lines[:3])
    return _report(installation, done.code == 0, reason, done.seconds, report)


def test(installation: Installation, spec: ModelSpec, build_id: str) -> CheckReport:
    """Run the model's own pytest suite. A suite without tests fails, because it proves nothing."""
    build = build_folder(installation.settings, spec.name, build_id)
    code = model_folder(build / "code", spec)
    files = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml")
    own = _own_configuration(code, build / "code", files, ("tool", "pytest"))
    seen = installation.engine.code(spec, build_id)
    alone = [] if own else ["-c", "/dev/null", f"--rootdir={seen}", f"--confcutdir={seen}"]
    report = build / "reports" / "pytest.xml"
    with _folders(build, "test") as (inputs, outputs):
        options = ["-q", "--color=no", "-p", "no:cacheprovider", f"--junitxml={outputs / report.name}", *alone]
        command = ["-m", "pytest", *options, "."]
        log = inputs / "pytest.txt"
        done = installation.engine.run(
            spec, build_id, command, writable=outputs, log=log, in_code=True, file_mb=MAX_FILE_MB
        )
        _collect(inputs, report.with_suffix(".txt"))
        _collect(outputs, report)
    passed, reason = _judge_tests(spec, done, report)
    return _report(
        installation, passed, reason, done.seconds, report if report.exists() else report.with_suffix(".txt")
    )


def check_contract(installation: Installation, spec: ModelSpec, build_id: str) -> CheckReport:
    """Check the commit's model.yaml, if it has one, and then the contract of its code (see runtime/check.py)."""
    build = build_folder(installation.settings, spec.name, build_id)
    report = build / "reports" / "contract.json"
    started = time.monotonic()
    error = _check_spec(spec, model_folder(build / "code", spec) / "model.yaml")
    if error:
        found = {"answer": "fail", "reason": error, "checks": []}
        report.write_text(json.dumps(found, indent=1), encoding="utf-8")
        return _report(installation, False, error, time.monotonic() - started, report)
    with _folders(build, "contract") as (inputs, outputs):
        job = inputs / "check.json"
        sample = _sample(installation, spec, inputs)
        model = model_block(spec, installation.engine.code(spec, build_id))
        check: CheckJob = {"model": model, "sample": sample, "rows": SAMPLE_ROWS, "out": str(outputs / report.name)}
        job.write_text(json.dumps(check, indent=1), encoding="utf-8")
        command = ["-m", "runtime.check", str(job)]
        log = inputs / "contract.txt"
        done = installation.engine.run(
            spec, build_id, command, writable=outputs, log=log, readable=[inputs], file_mb=MAX_FILE_MB
        )
        _collect(inputs, report.with_suffix(".txt"))
        _collect(outputs, report)
    passed, reason, parameters = _judge_contract(spec, done, report)
    judged = _report(
        installation, passed, reason, done.seconds, report if report.exists() else report.with_suffix(".txt")
    )
    return {**judged, "parameters": parameters} if parameters else judged


CHECKS = {"lint": lint, "test": test, "check_contract": check_contract}
"""The checks that a build must pass, by task id."""


def _check_out(installation: Installation, spec: ModelSpec, commit: str) -> Path:
    """The folder with the files of a commit; an existing checkout is reused."""
    home, folder = installation.settings.home, checkout_folder(installation.settings, spec.name, commit)
    return git.check_out(home, spec.repository, commit, folder)


def _is_newest(builds: Sequence[Build], build: Build) -> bool:
    """Whether this build already is the newest passed one of ``builds`` (newest first), from another run."""
    newest = next((known for known in builds if known.status == "passed"), None)
    if newest is None or build.status != "passed":
        return False
    return newest.build_id == build.build_id and newest.run_id != build.run_id


def _judge_tests(spec: ModelSpec, done: Completed, report: Path) -> tuple[bool, str]:
    ended = _forced_end(spec, done)
    if ended:
        return False, ended
    try:
        cases = list(ElementTree.fromstring(report.read_text("utf-8", errors="replace")).iter("testcase"))
    except (OSError, ValueError, ElementTree.ParseError):
        return False, f"pytest wrote no test report (exit code {done.code}): {_last_lines(done)}"
    failures = [(case, failure) for case in cases for failure in case if failure.tag in ("failure", "error")]
    if failures:
        case, failure = failures[0]
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return False, f"{name}: {_first_lines(failure)}{more}"
    ran = [case for case in cases if case.find("skipped") is None]
    if not ran:
        return False, "there are no tests, or all are skipped. Add one, for example tests/test_model.py"
    if done.code != 0:
        return False, f"pytest exited with code {done.code}: {_last_lines(done)}"
    return True, f"{len(ran)} tests passed"


def _judge_contract(spec: ModelSpec, done: Completed, report: Path) -> tuple[bool, str, EstimatorParameters | None]:
    ended = _forced_end(spec, done)
    if ended:
        return False, ended, None
    try:
        judged = read_json_object(report)
        answer, reason = judged["answer"], str(judged["reason"])[:MAX_REASON]
    except (OSError, UntrustedFileError, KeyError):
        return False, f"the contract check wrote no report (exit code {done.code}): {_last_lines(done)}", None
    if answer != "pass" or done.code != 0:
        return False, reason, None
    return True, reason, read_parameters(judged.get("parameters"))


def _forced_end(spec: ModelSpec, done: Completed) -> str:
    """Why a command was killed; empty if it exited on its own."""
    if done.limit:
        return {
            "time": f"exceeded the time limit ({done.seconds:.0f} s; training.time_limit_minutes in model.yaml)",
            "memory": f"exceeded the memory limit (training.memory_mb in model.yaml: {spec.training.memory_mb})",
            "processes": f"had more than {spec.training.processes} processes and threads (training.processes)",
            "disk": f"wrote more than {spec.training.disk_mb} MiB (training.disk_mb), or too many files",
        }[done.limit]
    return f"was killed by signal {-done.code}" if done.code < 0 else ""


def _first_lines(failure: ElementTree.Element) -> str:
    """The assertion or exception, whose lines pytest marks with E."""
    marked = [line[1:].strip() for line in (failure.text or "").splitlines() if line.startswith("E ")]
    lines = marked or [
        line.strip() for line in (failure.get("message") or failure.text or "").splitlines() if line.strip()
    ]
    return "; ".join(line for line in lines[:3] if line)[:500] or "no message"


def _last_lines(done: Completed) -> str:
    return "; ".join(line.strip() for line in done.output_tail.splitlines()[-3:] if line.strip())[:500] or "no output"


def _check_spec(spec: ModelSpec, file: Path) -> str:
    """The error in the commit's own model.yaml; empty if it has none or it is valid."""
    if not file.is_file():
        return ""
    with tempfile.TemporaryDirectory(prefix="evergreen-") as temporary:
        named = Path(temporary) / spec.name / "model.yaml"
        named.parent.mkdir()
        shutil.copyfile(file, named)
        try:
            log.info("%s: %s", spec.name, in_words(load_spec(named)))
        except ModelSpecError as error:
            return f"the commit's {error}"
    return ""


def _sample(installation: Installation, spec: ModelSpec, folder: Path) -> list[str]:
    """Rows of the newest partition of training data; empty if there is no usable data yet."""
    from include.adapters.data.partitions import newest_window
    from include.adapters.data.sources import read_window

    try:
        source, grain = spec.data.source, spec.monitoring.window
        home = installation.settings.home
        rows = read_window(home, source, newest_window(home, spec.data, grain), grain, kinds_of(spec))
    except (EvergreenError, OSError) as error:
        log.info("no sample of training data, using synthetic rows: %s", error)
        return []
    path = folder / "sample.parquet"
    rows.head(SAMPLE_ROWS).to_parquet(path, index=False)
    return [str(path)]


def _own_configuration(code: Path, root: Path, files: tuple[str, ...], table: tuple[str, str]) -> bool:
    """Whether the repository configures the tool, between the model's folder and its root.

    Otherwise, the tools would search further up, outside the commit.
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
                return True  # the tool itself reports the error
        if folder.resolve() == root.resolve():
            return False
        folder = folder.parent


@contextmanager
def _folders(build: Path, check: str) -> Iterator[tuple[Path, Path]]:
    """A folder for a check's inputs and printed output, and the only folder that it may write to."""
    reports = build / "reports"
    reports.mkdir(exist_ok=True)
    with job_folder(reports / f".{check}.inputs") as inputs, job_folder(reports / f".{check}") as outputs:
        yield inputs, outputs


def _collect(folder: Path, report: Path) -> None:
    """Copy a file to the reports; if it is too large or not a regular file, there is no such report."""
    try:
        take_files(folder, [report.name], report.parent, largest_bytes=MAX_REPORT_BYTES)
    except TrainingError as error:
        log.warning("%s", error)
        report.unlink(missing_ok=True)


def _report(installation: Installation, passed: bool, reason: str, seconds: float, file: Path) -> CheckReport:
    return {
        "answer": "pass" if passed else "fail",
        "reason": reason,
        "seconds": round(seconds, 2),
        "file": str(file),
        "isolation": installation.engine.isolation(),
    }
