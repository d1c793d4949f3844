"""The health of a window, and the policy that decides from the health history whether to retrain."""
