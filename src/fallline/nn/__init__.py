"""Layers: dense, activations, normalisation, dropout, embeddings, containers, initializers."""
