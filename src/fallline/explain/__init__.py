"""Seeing: traces, drawings, reports, the diagnosis and figures of what is computed and learned."""
