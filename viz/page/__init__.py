"""What the tabs share: limits, models, runs, stored runs, controls, files."""
