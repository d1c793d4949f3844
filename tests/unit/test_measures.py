"""The code's shape stays within its limits, and the measures see what they are made to see."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from docs import measures
from docs.measures import Largest
from tests.conftest import PROJECT


def test_no_file_is_longer_than_350_lines() -> None:
    assert measures.longest_file(PROJECT).size <= 350


def test_no_function_is_more_complex_than_10() -> None:
    assert measures.highest_complexity(PROJECT).size <= 10


def test_no_modules_import_each_other() -> None:
    assert measures.import_circles(PROJECT) == []


FILES = {
    "include/__init__.py": "",
    "include/engine.py": """
        from include import jobs
        def start(job: dict[str, Any], /, *more, wait=lambda a, b: 0, **rest):
            if job:
                return 1
            elif more:
                return 2
            return 3
        """,
    "include/jobs.py": """
        class Job:
            def run(self) -> None:
                '''Run it.'''
            def stop(self) -> Mapping[str, Any]:
                import evergreen.operators
            def _end(self): ...
        class _Kept:
            def look(self): ...
        """,
    "plugins/evergreen/__init__.py": "",
    "plugins/evergreen/operators.py": "def make():\n    from include.engine import start\n",
    "tests/test_jobs.py": "\n" * 30,
}


@pytest.fixture
def tree(tmp_path: Path) -> Any:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path


def test_untyped_records_are_counted_in_include_and_plugins(tree: Any) -> None:
    assert measures.untyped_records(tree) == 2


def test_another_name_does_not_hide_an_untyped_record(tree: Any) -> None:
    (tree / "include" / "jobs.py").write_text(
        "Job = dict[str, Any]\nNames = dict[str, str]\ndef end(job: Job, names: Names) -> list[Job]: ...\n"
    )
    assert measures.untyped_aliases(tree) == 2


def test_public_functions_and_methods_without_a_docstring_are_named(tree: Any) -> None:
    expected = ["include/engine.py:start", "include/jobs.py:stop", "plugins/evergreen/operators.py:make"]
    assert measures.undocumented(tree) == expected


def test_the_longest_file_may_be_a_test(tree: Any) -> None:
    assert measures.longest_file(tree) == Largest(30, "tests/test_jobs.py")
    assert measures.longest_file(tree, ["include"]) == Largest(9, "include/jobs.py")


def test_the_longest_and_the_most_complex_function_and_the_one_with_most_parameters_are_named(tree: Any) -> None:
    assert measures.longest_function(tree) == Largest(6, "include/engine.py:start")
    assert measures.most_parameters(tree) == Largest(4, "include/engine.py:start")
    assert measures.highest_complexity(tree, ["include"]) == Largest(3, "include/engine.py:start")


def test_a_folders_modules_are_counted_without_its_init_file(tree: Any) -> None:
    assert measures.largest_folder(tree) == Largest(2, "include")


def test_a_circle_through_imports_inside_functions_is_found(tree: Any) -> None:
    assert measures.import_circles(tree) == [["evergreen.operators", "include.engine", "include.jobs"]]


def test_modules_that_only_meet_a_circle_are_not_in_it() -> None:
    imports = {"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": [], "e": ["e"]}
    assert measures.circles(imports) == [["b", "c"]]


def test_a_commit_that_does_not_exist_is_named() -> None:
    with pytest.raises(SystemExit, match="'no-such-commit' could not be exported"):
        measures.main(["no-such-commit"])
