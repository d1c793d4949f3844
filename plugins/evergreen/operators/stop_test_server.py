"""Clear the test environment."""

from __future__ import annotations

from airflow.sdk import Context

from evergreen.model_task import TEST, ModelTask


class StopTestServerOperator(ModelTask):
    """Stop the server that this run started in the test environment; another run's server keeps running.

    :param model: name of the model.
    """

    ui_color = TEST

    def execute(self, context: Context) -> None:
        """Clear the test environment if this run owns it."""
        from include.stages.deployment import clear_test

        clear_test(self.installation, self.spec, context["dag_run"].run_id)
