"""The quality report: one page on which a person looks at a release and decides whether to publish it.

Add what is shown to `collecting`, how it looks to the template, style sheet and script beside it. Statistics are in
`statistics`, pictures in `pictures`. What is found and judged comes from `publication`; nothing is decided here.
"""
