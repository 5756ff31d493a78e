"""The lesson: the paper in six short steps on stored runs."""
