"""What serves: releases, their rollout in weighted steps, and the judging of canaries."""
