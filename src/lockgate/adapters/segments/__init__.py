"""The prediction log on disk: crash-safe files of frames, one writer each."""
