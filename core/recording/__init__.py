"""Records which rows any cache of transformers keeps, whatever code runs the model."""
