"""The lesson: the paper in six short steps on stored runs, and one on what came after it."""
