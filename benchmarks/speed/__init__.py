"""Speed and memory as ratios, each against a rival in the same run."""
