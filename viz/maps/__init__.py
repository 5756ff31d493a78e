"""The maps in the browser: the data sent to them, and the Gradio components that draw them."""
