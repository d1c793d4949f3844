"""Evergreen's Airflow extensions: operators, sensors, triggers, web routes, and code shared by the Dag files."""
