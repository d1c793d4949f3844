"""Triggers for events outside Airflow: a new commit, a new partition of data."""
