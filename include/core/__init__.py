"""The rules: pure functions and frozen dataclasses. No Airflow, clock, network or files."""
