"""The health of one window, and the policy that decides from its history whether to retrain."""
