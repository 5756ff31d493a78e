"""Figures and tables of traces, by plotly."""
