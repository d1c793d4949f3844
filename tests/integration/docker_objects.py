"""What the engine ``docker`` made: images and their layers, jobs, volumes, and where a job's log is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import docker.errors
from docker.models.containers import Container

from include.adapters.engines.docker import images as docker_images
from include.stages.installation import open_installation
from tests.support.engines import docker_host


def log_of(folder: Path) -> Path:
    """Where the log of a job goes that may write to this folder."""
    return folder.with_name(f"{folder.name}.log")


def new_folder(name: str) -> Path:
    """A folder in the installation's home for a job to write to."""
    folder = open_installation().settings.home / name
    folder.mkdir()
    return folder


def layers(image: str) -> list[str]:
    """The digests of an image's layers, the lowest first."""
    return list(docker_host().client.images.get(image).attrs["RootFS"]["Layers"])


def image_of(model: str, build_id: str) -> str:
    """The image of a build."""
    return docker_images.build_image(docker_host(), model, build_id)


def jobs() -> list[Container]:
    """The containers of jobs."""
    return docker_host().client.containers.list(all=True, filters=docker_host().with_labels("job"), ignore_removed=True)


def jobs_that_said(text: bytes) -> list[Container]:
    """Those whose log has the text."""
    found = []
    for job in jobs():
        with contextlib.suppress(docker.errors.NotFound):  # it was removed meanwhile
            if text in job.logs():
                found.append(job)
    return found


def job_volumes() -> set[str]:
    """Volumes without a name that no container uses any more."""
    return {
        volume.name
        for volume in docker_host().client.volumes.list(filters={"dangling": True})
        if len(volume.name) == 64
    }
