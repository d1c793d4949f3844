"""The engine ``process``: builds are virtual environments; jobs and servers are confined processes."""
