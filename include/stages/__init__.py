"""The use cases, one for each Dag: they ask core with values and act through adapters."""
