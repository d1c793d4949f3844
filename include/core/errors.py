"""The family of Evergreen's errors. Each message names the problem, its place, and the remedy."""


class EvergreenError(Exception):
    """Base class of all errors that Evergreen itself raises."""


class ModelSpecError(EvergreenError):
    """A model.yaml is invalid; the message has the file, line, field and remedy."""


class RunRefusedError(EvergreenError):
    """A run's parameters contradict each other or name something that does not exist; nothing has been done yet."""


class DataError(EvergreenError):
    """The data is missing, malformed or violates its expectations; a retry will not help."""


class NoRowsError(DataError):
    """A partition of the data has no rows."""


class BuildError(EvergreenError):
    """A commit can't be checked out, its environment can't be built, or a check failed."""


class TrainingError(EvergreenError):
    """The model's own code failed while training or scoring."""


class ArtifactError(EvergreenError):
    """An artifact differs from the recorded one, or contains types that are not allowed."""


class NotRegisteredError(EvergreenError):
    """The registry does not have a version (any more)."""


class GateError(EvergreenError):
    """A gate failed, or held for too long."""


class DeploymentConflictError(EvergreenError):
    """Another deployment has changed, or is changing, what serves."""


class UnknownIdError(EvergreenError):
    """Nothing has the id that was asked for; the message names what was searched."""


class AmbiguousIdError(EvergreenError):
    """Several things have the id that was asked for; the message lists them."""


class PlatformError(EvergreenError):
    """A component of the platform (gateway, engine, registry) did not respond properly. A retry may help."""


class UnreachableError(PlatformError):
    """A server that the platform depends on, such as its database, does not respond; it is waited for longer."""
