"""The examination before a run: whether it can succeed, and what stands in its way. It sends nothing.

Add a question about another topic as a module with a function that returns lines, and its name in `examination`.
"""
