"""The map in the browser: what is sent to it, and the components that draw it."""
