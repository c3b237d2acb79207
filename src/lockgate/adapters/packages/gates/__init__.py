"""One file a kind of gate: what it looks at, and what it says. All of them are listed in `judge`."""
