"""The recurrence: a model reads and writes while every layer holds a finite multi-state and a policy evicts rows."""
