"""The tests, as a package: one named like it comes along with a data set we use, and must not be met instead."""
