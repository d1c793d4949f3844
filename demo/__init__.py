"""The demo: a year of real flights through the whole loop. Run it with ``python -m demo`` (or ``make demo``)."""
