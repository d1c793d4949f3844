"""What starts runs from outside of Airflow: a new commit, a new partition of data."""
