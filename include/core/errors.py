"""One family of errors. Each message names what is wrong, where, and the remedy."""


class EvergreenError(Exception):
    """Anything that Evergreen itself refuses or fails at."""


class ModelSpecError(EvergreenError):
    """A model.yaml is wrong: file, line, field and remedy are in the message."""


class RunRefusedError(EvergreenError):
    """A run's parameters contradict each other or name what isn't there; refused before the run did anything."""


class DataError(EvergreenError):
    """The data is wrong (missing, malformed, failing its expectations); retrying will not help."""


class BuildError(EvergreenError):
    """A commit can't be checked out, its environment can't be built, or a check failed."""


class TrainingError(EvergreenError):
    """The model's own code failed while training or scoring."""


class ArtifactError(EvergreenError):
    """An artifact is not the one that was recorded, or names types that are not allowed."""


class GateError(EvergreenError):
    """A gate answered fail, or held for longer than it may."""


class DeploymentConflictError(EvergreenError):
    """Another deployment changed, or is changing, what serves."""


class PlatformError(EvergreenError):
    """A part of the platform (gateway, engine, registry) did not answer as it should. Worth a retry."""
