"""The engine ``docker``: builds are images, and jobs and servers are hardened containers."""
