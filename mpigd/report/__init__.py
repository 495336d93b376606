"""One HTML file about a run, for a browser: figures and tables of what its directory holds."""
