"""Evergreen's Airflow components: operators, sensors, triggers, pages of the web UI, and what the Dag files share."""
