"""Figures (plotly) and tables of traces."""
