"""A commit's requirements name packages, and nothing that the platform's machine should ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.adapters.engines.requirements import check_requirements
from include.core.errors import BuildError

OWN = ["https://packages.example/simple", "https://files.example/wheels/"]
ALLOWED = [
    "",
    "# nothing but a comment\n",
    "pandas\n",
    "pandas==3.1.1 # why\nscikit-learn[alldeps]>=1.9,<2\n",
    "numpy==2.4.6 ; python_version >= '3.11' --hash=sha256:ab12 --hash=sha256:cd34\n",
    "numpy==2.4.6 \\\n    --hash=sha256:ab12 \\\n    --hash=sha256:cd34\n    # via pandas\n",
    "\ufeffpandas\r\nnumpy\r\n",
    "--index-url https://packages.example/simple\npandas\n",
    "--extra-index-url=https://packages.example/simple/\n",
    "-f https://files.example/wheels\n",
    "mine @ https://files.example/wheels/mine-1-py3-none-any.whl\n",
    "mine @ https://files.example/wheels/mine-1-py3-none-any.whl --hash=sha256:ab12\n",
]
REFUSED = {
    "--index-url http://127.0.0.1:8080/simple": "names a package index that is not allowed",
    "-i http://localhost:5000": "names a package index",
    "--extra-index-url=http://[::1]/": "names a package index",
    "-fhttp://127.0.0.1/": "is an option",
    "--find-links /etc": "names a package index",
    "--index-url \\\n http://127.0.0.1/": "names a package index",
    "--index-url https://packages.example/simple.evil.example/": "names a package index",
    "--index-url https://packages.example/simple/../../admin": "names a package index",
    "--index-url https://packages.example/simple/%2e%2E/admin": "names a package index",
    "--index-url https://packages.example/simple/${UV_INDEX_OWN_PASSWORD}": "names a package index",
    "--index-url https://packages.example/simple@127.0.0.1/": "names a package index",
    "-r other.txt": "is an option",
    "-c constraints.txt": "is an option",
    "-e .": "is an option",
    "--no-binary :all:": "is an option",
    "--pre": "is an option",
    "--trusted-host 127.0.0.1": "is an option",
    "pandas --config-settings x=y": "is not a package",
    "http://127.0.0.1/evil-1-py3-none-any.whl": "is not a package",
    "./evil-1-py3-none-any.whl": "is not a package",
    "git+https://example/evil.git": "is not a package",
    "evil @ git+http://127.0.0.1/evil.git": "takes a package from an address",
    "evil @ file:///etc": "takes a package from an address",
    "evil @ http://127.0.0.1/${UV_INDEX_OWN_PASSWORD}-1-py3-none-any.whl": "takes a package from an address",
    "evil @ https://files.example/wheels@127.0.0.1/e-1-py3-none-any.whl": "takes a package from an address",
    "${HOME}": "is not a package",
}


def check(folder: Path, text: str) -> None:
    file = folder / "requirements.txt"
    file.write_bytes(text.encode())
    check_requirements("prices", file, OWN)


@pytest.mark.parametrize("text", ALLOWED)
def test_packages_hashes_and_the_models_own_indexes_are_allowed(tmp_path: Path, text: str) -> None:
    check(tmp_path, text)


@pytest.mark.parametrize("line", REFUSED)
def test_everything_else_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BuildError, match=rf"prices: requirements\.txt:3: .*{REFUSED[line]}.*\. (Add|Write) "):
        check(tmp_path, f"# first\npandas\n{line}\nnumpy\n")


def test_without_a_list_no_address_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("-i https://pypi.org/simple\n")
    with pytest.raises(BuildError, match="repository.package_indexes in model.yaml"):
        check_requirements("prices", file, [])


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    for content, problem in ((b"\xff\xfe", "is not UTF-8"), (b"# \n" * 6_000_000, "has more than")):
        file.write_bytes(content)
        with pytest.raises(BuildError, match=f"requirements.txt can't be read: it {problem}"):
            check_requirements("prices", file, OWN)
