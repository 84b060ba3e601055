"""A make-believe Integrator: a world of logs (`world`), the wire that shows it (`server`), its misbehaviour (`faults`).

    with serve(demo_world(clock)) as server: ...   # server.base_url speaks the vendor's Logs API

`world.World` makes its rows from (seed, flow, run, line, now); `table.TableWorld` holds rows that a test lists and
changes. Both are shown by the same server.
"""
