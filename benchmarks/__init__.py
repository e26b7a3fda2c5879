"""What the project promises on speed and memory, measured: `python -m benchmarks` writes docs/benchmarks.md.

Every promise is a ratio to a plain baseline. Contenders and baseline are measured in rounds, each once a round in an
order that rotates, so that what else the machine does falls on all alike. The modules: `measure` takes one measurement
or rounds of them, `baselines` are the plain ways, `material` what is worked on; one module for each area measures and
reports it; `results`, `report` and `plots` keep and show the numbers.
"""
