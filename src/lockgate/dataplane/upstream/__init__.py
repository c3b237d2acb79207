"""Packages that are answered by a server elsewhere: asked carefully, and let alone while it fails."""
