"""What the tabs share: limits, models, runs, the way to the store, controls, files."""
