"""Images: a build is an image, and a release adds one layer to it.

A build image has the base, the locked packages, the runtime and the commit's code, in layers in this order. A release
image adds the version's artifact. Images are used by digest (with a registry) or by id, never by tag; tags only protect
them from ``docker image prune``. Labels record their origin.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import ssl
from collections.abc import Iterable
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound
from filelock import FileLock

from include.adapters.airflow_connections import find_connection, require_connection
from include.adapters.engines import environments
from include.adapters.engines.docker.archives import archived
from include.adapters.engines.docker.client import DockerHost
from include.adapters.engines.docker.job import job_labels
from include.adapters.engines.environments import Lock, Python
from include.adapters.engines.process.confinement import Completed
from include.adapters.engines.runtime_config import build_folder
from include.adapters.files import write_atomically
from include.adapters.git import repository_url
from include.core.build import Lineage
from include.core.errors import BuildError, EvergreenError, PlatformError
from include.core.json_types import JsonObject
from include.core.plain_text import without_credentials
from include.core.spec import ModelSpec
from include.settings import PROJECT

log = logging.getLogger(__name__)

RECIPE = Path(__file__).with_name("build.Dockerfile")
INSIDE = Path("/evergreen")
"""The folder of a build's code, runtime and environment, and of a release's artifact, in their image."""
ARTIFACT, CONFIG, LOG = INSIDE / "artifact", INSIDE / "server", INSIDE / "log"
"""In a server: its artifact, the volume with its configuration and token, and the volume with the prediction log."""
BUILD_SECONDS = 1800


def take_image(
    host: DockerHost, spec: ModelSpec, build_id: str, commit: str, folder: Path, lock: Lock, base: str
) -> tuple[str, bool]:
    """The image of a build, by digest or id, and whether an existing image was reused.

    Writes ``image``, its name, and ``sbom.cdx.json``, the bill of materials, to the build's folder.
    """
    with FileLock(folder.with_name(f".{build_id}.lock")):
        image = _existing_image(host, spec.name, build_id)
        if image is not None:
            return image, True
        built = _build_image(host, spec, build_id, commit, folder, lock, base)
        image = _publish(host, built, spec.name, f"build-{build_id}")
        write_atomically(folder / "sbom.cdx.json", json.dumps(bill_of_materials(lock), indent=1).encode())
        write_atomically(folder / "image", image.encode())
    return image, False


def build_image(host: DockerHost, model: str, build_id: str) -> str:
    """The image of a build, present on the Docker host; EvergreenError if there is none."""
    image = _existing_image(host, model, build_id)
    if image is None:
        raise EvergreenError(
            f"{model}: there is no image of build '{build_id}' on the Docker host. Run {model}.ci for its commit."
        )
    return image


def release_image(host: DockerHost, spec: ModelSpec, version: str, bundle: Path, lineage: Lineage) -> str:
    """The image of a model version: its build's image plus one small layer with its artifact."""
    recipe = f"FROM {_id_of(host, build_image(host, spec.name, lineage.build))}\nADD artifact.tar /\n".encode()
    layer = archived({_in_tar(ARTIFACT): bundle})
    about = host.labels("release", model=spec.name, build=lineage.build, version=version) | {
        "org.opencontainers.image.version": version,
        "evergreen.snapshot": lineage.snapshot,
        "evergreen.run": lineage.run_id,
    }
    context = archived({"Dockerfile": recipe + _label(about), "artifact.tar": layer})
    return _publish(host, _build(host, spec.name, context, {}), spec.name, f"release-{version}")


def present(host: DockerHost, image: str) -> bool:
    """Whether the image is on the Docker host, or could be pulled by its digest."""
    with host.errors():
        client = host.client
        try:
            client.images.get(image)
            return True
        except ImageNotFound:
            return _pull(host, image) if "@" in image else False


def base_image(host: DockerHost) -> str:
    """The id of the base image, which is pulled if needed."""
    name = host.settings.base_image
    with host.errors():
        client = host.client
        try:
            return str(client.images.get(name).id)
        except ImageNotFound:
            pass
        try:
            return str(client.images.pull(name, tag=None if "@" in name or ":" in name else "latest").id)
        except docker.errors.DockerException as error:
            raise PlatformError(
                f"the base image '{name}' is not on the Docker host and can't be pulled ({error}). 'bin/docker-engine' "
                "builds one from Debian's packages; set EVERGREEN_BASE_IMAGE to use another."
            ) from error


def bill_of_materials(lock: Lock) -> JsonObject:
    """All locked packages as CycloneDX JSON, version 1.6."""
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock.file.read_text(encoding="utf-8"), re.MULTILINE)
    packages = [
        {"type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl}
        for name, version in pinned
        for purl in [f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"]
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": packages}


def _build_image(
    host: DockerHost, spec: ModelSpec, build_id: str, commit: str, folder: Path, lock: Lock, base: str
) -> str:
    about = host.labels("build", model=spec.name, build=build_id, lock=lock.hash) | {
        "org.opencontainers.image.title": spec.name,
        "org.opencontainers.image.description": spec.description,
        "org.opencontainers.image.source": without_credentials(repository_url(host.settings.home, spec.repository)),
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.version": build_id,
        "org.opencontainers.image.base.name": host.settings.base_image,
        "org.opencontainers.image.base.digest": base,
    }
    certificates = ssl.get_default_verify_paths().cafile
    context = archived(
        {
            "Dockerfile": RECIPE.read_bytes() + _label(about),
            "certificates.pem": Path(certificates).read_bytes() if certificates else b"",  # often a symbolic link
            "uv.txt": _locked_uv(),
            "uv.env": _index_environment(),
            "requirements.lock": lock.file,
            "runtime.tar": archived({_in_tar(INSIDE / "runtime"): folder / "runtime"}, [_in_tar(CONFIG), _in_tar(LOG)]),
            "code.tar": archived({_in_tar(INSIDE / "code"): folder / "code"}),
        }
    )
    return _build(host, spec.name, context, {"BASE": base})


def _build(host: DockerHost, model: str, context: bytes, arguments: dict[str, str]) -> str:
    """Build an image and return its id. The output of the steps is logged during the build."""
    output: list[str] = []
    image = ""
    with host.errors():
        progress = host.client.api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            buildargs=arguments,
            rm=True,
            forcerm=True,
            decode=True,
            timeout=BUILD_SECONDS,
        )
        for entry in progress:
            text = entry.get("stream", "").strip()
            if text and not text.startswith(("--->", "Removing intermediate")):
                log.info("%s", text)
                output.append(text)
            image = (entry.get("aux") or {}).get("ID", image)
            if "error" in entry:
                _explain(model, str(entry["error"]), output)
    if not image:
        raise PlatformError(
            f"{model}: the Docker Engine ended the build without a result. Check its log, then run again."
        )
    return image


def _explain(model: str, error: str, output: list[str]) -> None:
    if "no space left" in error or any("o space left" in line for line in output):
        raise PlatformError(
            f"{model}: the Docker host's disk is full. Free some, such as with 'docker system prune', then run again."
        )
    if "returned a non-zero code" in error:
        error = "\n".join(line for line in output if not line.startswith("Step "))
    environments.require(Completed(1, error, 0.0, None), model, "the image can't be built")


def _existing_image(host: DockerHost, model: str, build_id: str) -> str | None:
    """The build's existing image: as recorded in its folder, or by its labels if the folder was lost."""
    file = build_folder(host.settings, model, build_id) / "image"
    image = file.read_text(encoding="utf-8") if file.is_file() else ""
    if image and present(host, image):
        return image
    with host.errors():
        labelled = host.client.images.list(filters=host.with_labels("build", model=model, build=build_id))
    return str(labelled[0].id) if labelled else None


def _publish(host: DockerHost, image: str, model: str, tag: str) -> str:
    """Tag an image so that it is kept, and push it if there is a registry; returns its digest there, else its id."""
    name, repository = host.settings.image_registry_connection, f"evergreen/{model}"
    if not name:
        with host.errors():
            host.client.images.get(image).tag(repository, tag)
        return image
    remedy = "It is the image registry: add it, or unset EVERGREEN_IMAGE_REGISTRY_CONNECTION."
    connection = require_connection(name, remedy=remedy)
    server = re.sub(r"^https?://", "", connection.host or "") + (f":{connection.port}" if connection.port else "")
    repository = f"{server}/{repository}"
    with host.errors():
        host.client.images.get(image).tag(repository, tag)
        pushed = host.client.images.push(repository, tag, auth_config=_login(connection), stream=True, decode=True)
        digest = _digest(pushed, server, name)
    return f"{repository}@{digest}"


def _digest(pushed: Iterable[JsonObject], server: str, connection: str) -> str:
    for entry in pushed:
        if "error" in entry:
            raise PlatformError(
                f"the image registry {server} refused the push: {entry['error']}. Check the login and password of the "
                f"Airflow connection '{connection}'."
            )
        if "Digest" in (entry.get("aux") or {}):
            return str(entry["aux"]["Digest"])
    raise PlatformError(f"the image registry {server} did not report the image's digest. Run again.")


def _pull(host: DockerHost, image: str) -> bool:
    connection = find_connection(host.settings.image_registry_connection)
    try:
        host.client.images.pull(image, auth_config=_login(connection) if connection else None)
    except docker.errors.NotFound:
        return False
    return True


def _login(connection: Any) -> dict[str, str] | None:
    return {"username": connection.login, "password": connection.password} if connection.login else None


def _id_of(host: DockerHost, image: str) -> str:
    with host.errors():
        return str(host.client.images.get(image).id)


def python_of(host: DockerHost, base: str) -> Python:
    """The base image's Python; determined once and cached by the image's id."""
    cached = host.settings.environments / f"python-of-{base.removeprefix('sha256:')[:16]}.json"
    if not cached.exists():
        program = "import json, platform; print(json.dumps([platform.python_version(), platform.machine()]))"
        with host.errors():
            output = host.client.containers.run(
                base, ["python3", "-c", program], remove=True, network_mode="none", labels=job_labels(host, 60)
            )
        write_atomically(cached, output)
    version, machine = json.loads(cached.read_text(encoding="utf-8"))
    return Python(version, f"{'aarch64' if machine == 'arm64' else machine}-unknown-linux-gnu")


def _locked_uv() -> bytes:
    """uv's own entry, with hashes, from the platform's lock."""
    entry = re.search(
        r"^uv==.*?(?=^\S)", (PROJECT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if entry is None:
        raise BuildError(f"requirements.lock has no uv (this is {installed('uv')}). Run 'make lock'.")
    return entry[0].replace("# via", "#").encode()


def _index_environment() -> bytes:
    """Package index settings as a shell file, for the build stage that installs packages; not in the final image."""
    inherited = {name: value for name, value in os.environ.items() if environments.INHERITED.fullmatch(name)}
    variables = {name: value for name, value in inherited.items() if not name.startswith("SSL_")}
    variables["UV_SYSTEM_CERTS"] = "1"
    index = variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL")
    if index:
        variables["PIP_INDEX_URL"] = index  # pip installs uv itself
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())).encode()


def _in_tar(path: Path) -> str:
    return str(path)[1:]


def _label(about: dict[str, str]) -> bytes:
    """One instruction that sets all labels, since each instruction takes the engine a tenth of a second."""
    quoted = (f"{name}={json.dumps(value, ensure_ascii=False)}".replace("$", "\\$") for name, value in about.items())
    return f"LABEL {' '.join(sorted(quoted))}\n".encode()
