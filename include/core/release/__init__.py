"""What serves: releases, their rollout in weighted steps, and the judgement of a canary."""
