"""Bits per dimension, forward time and sampling time against image size n and kernel size k.

`preset=full` is the study: it trains every method on photographs for hours, resumes, and times
whole models and single layers in about an hour on a machine that does nothing else.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("versus")
