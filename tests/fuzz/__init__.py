"""Thousands of requests that schemathesis makes of the OpenAPI documents, to every route of every service.

`target`    one service: who asks, about what there is, and how often
`checks`    what every answer must be, beside what schemathesis checks itself
`run`       rounds of the engine until enough was sent, and what came of them

`make fuzz` and `test_fuzz.py` run it; a seed makes the same requests again, but for ids, which are new in each run.
"""
