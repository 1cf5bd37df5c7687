"""Puts the questions of the measurement to DuckDB, on one thread, and prints what they cost."""

import sys
import time

import duckdb

folder, level = sys.argv[1:]
name = "2026-06-??" if level == "day" else "2026-06"
files = f"'{folder}/lp15/*/{name}.*parquet'"
connection = duckdb.connect()
connection.execute("SET threads = 1")
day = "2026-06-13"


def ask(what, statement, rounds):
    statement = statement.replace("FILES", f"read_parquet({files})")
    connection.execute(statement).fetchall()
    times, begun = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        connection.execute(statement).fetchall()
        times.append(1000 * (time.perf_counter() - start))
    cpu = 1000 * (time.process_time() - begun) / rounds
    times.sort()
    print(f"DuckDB on {level} files: {what}: p50 {times[rounds // 2]:.1f} ms, {cpu:.1f} ms CPU")


ask("one meter's day", f"""SELECT end_time, "1-0:1.8.0" FROM FILES WHERE ordinal = 4711
    AND end_time > TIMESTAMP '{day} 00:00:00' AND end_time <= TIMESTAMP '{day} 24:00:00'
    AND NOT beside""".replace("24:00:00", "23:59:59"), 9)
ask("one meter's month", """SELECT end_time, "1-0:1.8.0" FROM FILES WHERE ordinal = 4711
    AND NOT beside""", 9)
ask("10,000 meters' day by hour", f"""SELECT date_trunc('hour', end_time - INTERVAL 1 SECOND) h,
    sum(energy) FROM (SELECT end_time, "1-0:1.8.0" - lag("1-0:1.8.0")
        OVER (PARTITION BY ordinal ORDER BY end_time) AS energy FROM FILES
        WHERE end_time >= TIMESTAMP '{day} 00:00:00'
        AND end_time <= TIMESTAMP '{day} 00:00:00' + INTERVAL 1 DAY AND NOT beside)
    WHERE energy IS NOT NULL GROUP BY h ORDER BY h""", 3)
ask("month by transformer, top 20", """SELECT ordinal // 100 AS t, sum(wh) AS e FROM (
    SELECT ordinal, max("1-0:1.8.0") - min("1-0:1.8.0") AS wh FROM FILES WHERE NOT beside
    GROUP BY ordinal) GROUP BY t ORDER BY e DESC LIMIT 20""", 3)
