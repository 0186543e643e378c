"""Readers and cards of data sets, one module for each data set or family."""
