"""The graph of a trace as SVG and as a page, without Graphviz."""
