"""What is measured beside other programs, and by itself; each bench_*.py is a program. See docs/benchmarks.md."""
