"""What machines look at: metrics, alert rules and dashboards."""
