"""The log of an online experiment, analysed: users in arms, metrics, and what the arms differ by.

It stands alone: given a DuckDB connection that sees a log, `analysis.analyse` returns what the arms did to each metric.
No workspace is needed, and nothing is written. `ws.analyse_experiment` opens the log and keeps what was found.
"""
