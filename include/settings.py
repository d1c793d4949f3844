"""The installation's settings: folders, ports and addresses, in one place.

Each has a default that works on a laptop and an environment variable ``EVERGREEN_<NAME>`` (also read
from ``.env``) that changes it. Importing this module touches nothing and needs only the standard library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from include.core.errors import PlatformError

PROJECT = Path(__file__).resolve().parent.parent
ENGINES = ("process", "docker")
PLATFORMS = ("local", "celery")


@dataclass(frozen=True)
class Settings:
    """Folders, ports and addresses of the installation. All ports listen on 127.0.0.1 only."""

    home: Path = PROJECT / ".evergreen"
    models: Path = PROJECT / "include" / "models"
    airflow_port: int = 8080
    mlflow_port: int = 5500
    gateway_port: int = 8000
    server_ports: str = "8100-8299"
    store_url: str = ""
    mlflow_url: str = ""
    mlflow_artifacts: str = ""
    mlflow_page: str = ""
    git_poll_seconds: float = 5.0
    data_poll_seconds: float = 30.0
    platform: str = "local"
    database_url: str = ""
    broker_url: str = ""
    workers: str = "default:4 training:1"
    schedulers: int = 1
    engine: str = "process"
    base_image: str = "python:3.11.13-slim-bookworm"
    docker_connection: str = "evergreen_docker"
    server_network: str = ""
    image_registry_connection: str = ""
    history_days: int = 180
    prometheus: str = ""
    prometheus_port: int = 9090
    runbooks_url: str = ""

    @property
    def lake(self) -> Path:
        """Data, snapshots and predictions."""
        return self.home / "lake"

    @property
    def builds(self) -> Path:
        """What each build runs from (its code, environment and runtime), by model and build."""
        return self.home / "builds"

    @property
    def environments(self) -> Path:
        """Virtual environments of builds, by the hash of their lock."""
        return self.home / "environments"

    @property
    def artifacts(self) -> Path:
        """Local copies of registered model versions, by model and version."""
        return self.home / "artifacts"

    @property
    def prediction_log(self) -> Path:
        """The prediction logs of the model servers, one folder per model."""
        return self.home / "prediction_log"

    @property
    def candidates(self) -> Path:
        """What trainings made, one folder per model and run; registered candidates are in MLflow."""
        return self.home / "candidates"

    @property
    def reports(self) -> Path:
        """The HTML reports, one folder per model."""
        return self.home / "reports"

    @property
    def choices(self) -> Path:
        """What the trigger forms suggest, one file per model."""
        return self.home / "choices"

    @property
    def dag_files(self) -> Path:
        """Where Airflow finds the Dag files: links, those of the models in folders of some models each."""
        return self.home / "dag_files"

    @property
    def targets(self) -> Path:
        """Lists of the model servers as scrape targets for Prometheus."""
        return self.home / "targets"

    @property
    def secrets(self) -> Path:
        """Tokens and passwords, readable only by the owner."""
        return self.home / "secrets"

    @property
    def run(self) -> Path:
        """Sockets, pid files and supervisord's generated configuration."""
        return self.home / "run"

    @property
    def scratch(self) -> Path:
        """Temporary folders of confined commands."""
        return self.run / "scratch"

    @property
    def engine_file(self) -> Path:
        """Records the engine that this installation's builds were made for; written by the first ``make up``."""
        return self.home / "engine"

    @property
    def store(self) -> str:
        """SQLAlchemy URL of Evergreen's own tables."""
        return self.store_url or self._database("evergreen") or f"sqlite:///{self.home / 'evergreen.db'}"

    @property
    def mlflow(self) -> str:
        """MLflow tracking URI that tasks use."""
        local = f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}?timeout=20"
        return self.mlflow_url or self._database("mlflow") or local

    @property
    def airflow_database(self) -> str:
        """SQLAlchemy URL of Airflow's database; Celery keeps its results there too."""
        # Seconds to wait for the write lock; SQLite's default of 5 is too short for a slow disk.
        return self._database() or f"sqlite:///{self.home / 'airflow' / 'airflow.db'}?timeout=20"

    @property
    def platform_file(self) -> Path:
        """Records the platform that this installation's databases belong to; written by the first ``make up``."""
        return self.home / "platform"

    @property
    def mlflow_ui(self) -> str:
        """The address at which people reach MLflow's web UI."""
        return (self.mlflow_page or f"http://127.0.0.1:{self.mlflow_port}").rstrip("/")

    @property
    def artifact_root(self) -> str:
        """Where MLflow keeps artifacts: a folder or an object storage URL."""
        return self.mlflow_artifacts or str(self.home / "mlflow" / "artifacts")

    @property
    def server_port_range(self) -> range:
        """The ports that model servers may use."""
        first, _, last = self.server_ports.partition("-")
        return range(int(first), int(last or first) + 1)

    def _database(self, schema: str = "") -> str:
        """SQLAlchemy URL of ``database_url``, with a schema that comes first; empty on the platform ``local``."""
        if self.platform == "local":
            return ""
        if not self.database_url:
            raise PlatformError(
                "EVERGREEN_PLATFORM=celery needs EVERGREEN_DATABASE_URL. Set it in .env, for example "
                "EVERGREEN_DATABASE_URL=postgresql://user:password@host:5432/database"
            )
        url = urlsplit(self.database_url)
        options = f"options={quote(f'-csearch_path={schema}')}" if schema else ""
        query = "&".join(part for part in (url.query, options) if part)
        return urlunsplit(("postgresql+psycopg2", url.netloc, url.path, query, ""))

    def secret(self, name: str) -> str:
        """The secret in ``secrets/<name>``; created by ``make up``."""
        return (self.secrets / name).read_text(encoding="utf-8").strip()

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings, with all ``EVERGREEN_<NAME>`` variables of the environment applied."""
        values: dict[str, object] = {}
        for field in fields(cls):
            raw = os.environ.get(f"EVERGREEN_{field.name.upper()}")
            if raw is None or raw == "":
                continue
            default = field.default
            try:
                values[field.name] = Path(raw).resolve() if isinstance(default, Path) else type(default)(raw)  # type: ignore[misc]
            except ValueError:
                raise SystemExit(
                    f"EVERGREEN_{field.name.upper()}={raw!r} is not a valid {type(default).__name__}. "
                    f"Correct it in .env or unset it (default: {default})."
                ) from None
        settings = cls(**values)  # type: ignore[arg-type]
        if "engine" not in values and settings.engine_file.exists():
            settings = replace(settings, engine=settings.engine_file.read_text(encoding="utf-8").strip())
        if "platform" not in values and settings.platform_file.exists():
            settings = replace(settings, platform=settings.platform_file.read_text(encoding="utf-8").strip())
        for name, known in (("engine", ENGINES), ("platform", PLATFORMS)):
            value = getattr(settings, name)
            if value not in known:
                raise SystemExit(
                    f"EVERGREEN_{name.upper()}={value!r} is not a known {name}. Set it to {' or '.join(known)} in .env."
                )
        return settings
