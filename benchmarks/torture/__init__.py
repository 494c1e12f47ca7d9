"""A trial by hostile inputs: what each kind of input did to the pipeline, as a table in docs/reliability.md."""
