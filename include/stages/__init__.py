"""The use cases, one per Dag: they call the rules of core with values and act through adapters."""
