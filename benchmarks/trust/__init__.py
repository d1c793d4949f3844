"""Simulations of the gates: how often each errs, beside what it promises."""
