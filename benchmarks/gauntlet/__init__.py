"""Faulty and sound candidates on real data, judged by the default policy: what is caught, where, and who is wronged."""
