"""The engine ``docker``: builds are images; jobs and servers are hardened containers."""
