"""Drawings of a model's figures as SVG of our own: small, no script or style sheet, said in words too."""
