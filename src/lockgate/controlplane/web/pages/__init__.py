"""One file a page; each offers `show`."""
