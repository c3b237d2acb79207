"""Why a model answers as it does: rows to compare with, and somebody beside the loop who works it out."""
