"""Images: a build is one, and a release is one more layer on it.

A build image has the base, the locked packages, the runtime and the commit's code, in layers of this order. A release
image adds the version's artifact. Images are used by digest (with a registry) or by id, never by a tag; the tags that
they get only keep ``docker image prune`` away from them. Their labels say where they come from.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import ssl
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound
from filelock import FileLock

from include.adapters.engines import environments
from include.adapters.engines.docker.archives import archived
from include.adapters.engines.docker.client import airflow_connection, docker_errors, labels, open_client, with_labels
from include.adapters.engines.docker.job import job_labels
from include.adapters.engines.environments import Lock, PreparedBuild, Python
from include.adapters.engines.process.confinement import Completed
from include.adapters.git import check_out, repository_url
from include.core.errors import BuildError, EvergreenError, PlatformError
from include.core.spec import ModelSpec
from include.settings import PROJECT, settings

log = logging.getLogger(__name__)

RECIPE = Path(__file__).with_name("build.Dockerfile")
INSIDE = Path("/evergreen")
"""Where a build's code, runtime and environment, and a release's artifact, are in their image."""
ARTIFACT, CONFIG, LOG = INSIDE / "artifact", INSIDE / "server", INSIDE / "log"
"""In a server: what it serves, the volume with its configuration and token, and the one with the prediction log."""
BUILD_SECONDS = 1800


def prepare_build(spec: ModelSpec, commit: str, *, again: bool = False) -> PreparedBuild:
    """Lock, image and folder of the build of a commit; what is there already is used.

    The folder has the code and, beside the reports, ``image`` (the image by digest or id) and ``sbom.cdx.json``.
    Raises BuildError when the commit's requirements can't be met.
    """
    started = time.monotonic()
    base = base_image()
    checkout = check_out(spec.repository, commit, environments.checkout_folder(spec.name, commit))
    code = environments.model_folder(checkout, spec)
    lock = environments.resolve_lock(spec.name, code, again=again, python=_python_of(base))
    build_id = f"{commit[:12]}-{lock.hash[:8]}"
    folder = environments.assemble(settings().builds / spec.name / build_id, checkout)
    with FileLock(folder.with_name(f".{build_id}.lock")):
        image = _kept_image(spec.name, build_id)
        cached = image is not None
        if image is None:
            image = _publish(_build_image(spec, build_id, commit, folder, lock, base), spec.name, f"build-{build_id}")
            (folder / "sbom.cdx.json").write_text(json.dumps(bill_of_materials(lock), indent=1), encoding="utf-8")
            (folder / "image").write_text(image, encoding="utf-8")
    return PreparedBuild(build_id, image, folder, cached, time.monotonic() - started)


def build_image(model: str, build_id: str) -> str:
    """The image of a build, which is on the Docker host then; EvergreenError when there is none to be had."""
    image = _kept_image(model, build_id)
    if image is None:
        raise EvergreenError(
            f"{model}: there is no image of build '{build_id}' on the Docker host. Run {model}.ci for its commit."
        )
    return image


def release_image(spec: ModelSpec, version: str, build_id: str, bundle: Path, lineage: Mapping[str, Any]) -> str:
    """The image of a model version: its build's image and one small layer with its artifact."""
    recipe = f"FROM {_id_of(build_image(spec.name, build_id))}\nADD artifact.tar /\n".encode()
    layer = archived({_in_tar(ARTIFACT): bundle})
    about = labels("release", model=spec.name, build=build_id, version=version) | {
        "org.opencontainers.image.version": version,
        "evergreen.snapshot": str(lineage.get("snapshot", "")),
        "evergreen.run": str(lineage.get("run", "")),
    }
    context = archived({"Dockerfile": recipe + _label(about), "artifact.tar": layer})
    return _publish(_build(spec.name, context, {}), spec.name, f"release-{version}")


def present(image: str) -> bool:
    """Whether the image is on the Docker host, or could be pulled to it by its digest."""
    with docker_errors():
        client = open_client()
        try:
            client.images.get(image)
            return True
        except ImageNotFound:
            return _pull(client, image) if "@" in image else False


def base_image() -> str:
    """The id of the base image, which is pulled where it is not there yet."""
    name = settings().base_image
    with docker_errors():
        client = open_client()
        try:
            return str(client.images.get(name).id)
        except ImageNotFound:
            pass
        try:
            return str(client.images.pull(name, tag=None if "@" in name or ":" in name else "latest").id)
        except docker.errors.DockerException as error:
            raise PlatformError(
                f"the base image '{name}' is not on the Docker host and can't be pulled ({error}). 'bin/docker-engine' "
                "makes one from Debian's packages; EVERGREEN_BASE_IMAGE names another."
            ) from error


def bill_of_materials(lock: Lock) -> dict[str, Any]:
    """Every locked package in CycloneDX's JSON form, version 1.6."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", lock.file.read_text(encoding="utf-8"), re.MULTILINE)
    packages = [
        {"type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl}
        for name, version in found
        for purl in [f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"]
    ]
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": packages}


def _build_image(spec: ModelSpec, build_id: str, commit: str, folder: Path, lock: Lock, base: str) -> str:
    about = labels("build", model=spec.name, build=build_id, lock=lock.hash) | {
        "org.opencontainers.image.title": spec.name,
        "org.opencontainers.image.description": spec.description,
        "org.opencontainers.image.source": _without_credentials(repository_url(spec.repository)),
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.version": build_id,
        "org.opencontainers.image.base.name": settings().base_image,
        "org.opencontainers.image.base.digest": base,
    }
    certificates = ssl.get_default_verify_paths().cafile
    context = archived(
        {
            "Dockerfile": RECIPE.read_bytes() + _label(about),
            "certificates.pem": Path(certificates).read_bytes() if certificates else b"",  # often a link
            "uv.txt": _locked_uv(),
            "uv.env": _index_settings(),
            "requirements.lock": lock.file,
            "runtime.tar": archived({_in_tar(INSIDE / "runtime"): folder / "runtime"}, [_in_tar(CONFIG), _in_tar(LOG)]),
            "code.tar": archived({_in_tar(INSIDE / "code"): folder / "code"}),
        }
    )
    return _build(spec.name, context, {"BASE": base})


def _build(model: str, context: bytes, arguments: dict[str, str]) -> str:
    """Build an image; its id. What the steps print goes to stdout while it is built."""
    said: list[str] = []
    image = ""
    with docker_errors():
        progress = open_client().api.build(
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
                print(text, flush=True)
                said.append(text)
            image = (entry.get("aux") or {}).get("ID", image)
            if "error" in entry:
                _explain(model, str(entry["error"]), said)
    if not image:
        raise PlatformError(
            f"{model}: the Docker Engine ended the build without an answer. Look at its log; run again."
        )
    return image


def _explain(model: str, error: str, said: list[str]) -> None:
    if "no space left" in error or any("o space left" in line for line in said):
        raise PlatformError(
            f"{model}: the Docker host's disk is full. Free some, such as with 'docker system prune', then run again."
        )
    if "returned a non-zero code" in error:
        error = "\n".join(line for line in said if not line.startswith("Step "))
    environments.require(Completed(1, error, 0.0, None), model, "the image can't be built")


def _kept_image(model: str, build_id: str) -> str | None:
    """The build's image if it is there: as its folder says, or by its labels when the folder was lost."""
    file = settings().builds / model / build_id / "image"
    image = file.read_text(encoding="utf-8") if file.is_file() else ""
    if image and present(image):
        return image
    with docker_errors():
        found = open_client().images.list(filters=with_labels("build", model=model, build=build_id))
    return str(found[0].id) if found else None


def _publish(image: str, model: str, tag: str) -> str:
    """Tag an image so that it is kept; push it where there is a registry. Its digest there, else its id."""
    connection = airflow_connection(settings().image_registry_connection)
    if settings().image_registry_connection and connection is None:
        raise PlatformError(
            f"Airflow has no connection '{settings().image_registry_connection}' for the image registry. Add it, or "
            "unset EVERGREEN_IMAGE_REGISTRY_CONNECTION."
        )
    repository = f"evergreen/{model}"
    if connection is None:
        with docker_errors():
            open_client().images.get(image).tag(repository, tag)
        return image
    host = re.sub(r"^https?://", "", connection.host) + (f":{connection.port}" if connection.port else "")
    repository = f"{host}/{repository}"
    with docker_errors():
        open_client().images.get(image).tag(repository, tag)
        pushed = open_client().images.push(repository, tag, auth_config=_login(connection), stream=True, decode=True)
        digest = _digest(pushed, host)
    return f"{repository}@{digest}"


def _digest(pushed: Iterable[dict[str, Any]], host: str) -> str:
    for entry in pushed:
        if "error" in entry:
            raise PlatformError(
                f"the image registry {host} refused the push: {entry['error']}. Check the login and password of the "
                f"Airflow connection '{settings().image_registry_connection}'."
            )
        if "Digest" in (entry.get("aux") or {}):
            return str(entry["aux"]["Digest"])
    raise PlatformError(f"the image registry {host} did not say which digest the image has. Run again.")


def _pull(client: docker.DockerClient, image: str) -> bool:
    connection = airflow_connection(settings().image_registry_connection)
    try:
        client.images.pull(image, auth_config=_login(connection) if connection else None)
    except docker.errors.NotFound:
        return False
    return True


def _login(connection: Any) -> dict[str, str] | None:
    return {"username": connection.login, "password": connection.password} if connection.login else None


def _id_of(image: str) -> str:
    with docker_errors():
        return str(open_client().images.get(image).id)


def _python_of(base: str) -> Python:
    """Which Python the base image has; asked once and kept by the image's id."""
    kept = settings().environments / f"python-of-{base.removeprefix('sha256:')[:16]}.json"
    if not kept.exists():
        program = "import json, platform; print(json.dumps([platform.python_version(), platform.machine()]))"
        with docker_errors():
            said = open_client().containers.run(
                base, ["python3", "-c", program], remove=True, network_mode="none", labels=job_labels(60)
            )
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(said)
    version, machine = json.loads(kept.read_text(encoding="utf-8"))
    return Python(version, f"{'aarch64' if machine == 'arm64' else machine}-unknown-linux-gnu")


def _locked_uv() -> bytes:
    """uv's own entry, with hashes, of the platform's lock."""
    entry = re.search(
        r"^uv==.*?(?=^\S)", (PROJECT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    if entry is None:
        raise BuildError(f"requirements.lock has no uv (this is {installed('uv')}). Run 'make lock'.")
    return entry[0].replace("# via", "#").encode()


def _index_settings() -> bytes:
    """Where packages come from, for the stage that installs them: a shell file, which is in no image that stays."""
    kept = {name: value for name, value in os.environ.items() if environments.KEPT.fullmatch(name)}
    wanted = {name: value for name, value in kept.items() if not name.startswith("SSL_")}
    wanted["UV_SYSTEM_CERTS"] = "1"
    index = wanted.get("UV_DEFAULT_INDEX") or wanted.get("UV_INDEX_URL")
    if index:
        wanted["PIP_INDEX_URL"] = index  # pip installs uv itself
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(wanted.items())).encode()


def _in_tar(path: Path) -> str:
    return str(path)[1:]


def _label(about: dict[str, str]) -> bytes:
    """The instruction that sets these labels, in one step: each takes the engine a tenth of a second."""
    quoted = (f"{name}={json.dumps(value, ensure_ascii=False)}".replace("$", "\\$") for name, value in about.items())
    return f"LABEL {' '.join(sorted(quoted))}\n".encode()


def _without_credentials(url: str) -> str:
    return re.sub(r"://[^/@]*@", "://", url)
