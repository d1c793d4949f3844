"""The engines that run a model's code: builds, jobs and servers, as processes or as containers."""
