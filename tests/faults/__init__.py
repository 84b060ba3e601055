"""The fault suite: every failure of the catalogue as a named test, and the tools that make things fail.

- `catalogue.txt`: the 62 failures; `test_catalogue` holds that each has its test and that each says what is naive.
- `test_walk`, `test_http`, `test_documents`, `test_postgres`, `test_process`: the rows, in their order.
- `proxy`: a TCP proxy that delays, drips, resets, swallows and cuts, for HTTP and for Postgres.
- `mortal`: processes that end by SIGKILL at a named commit.
- `canaries`: secrets that must never be seen, and the search for them in whatever the suite makes.
- `figures`: what is counted over many seeds; a little of it here, all of it in `make soak`.

Every random choice follows from a seed; a failure names it.
"""
