"""Where a model's code runs: builds, jobs and servers, as processes or as containers."""
