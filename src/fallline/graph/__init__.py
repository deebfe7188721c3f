"""Programs: nodes, ops and their constructors, tracing, the verifier, programs as text."""
