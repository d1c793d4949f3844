"""Evergreen's Airflow components: operators, sensors, triggers, hooks and what the DAG files share."""
