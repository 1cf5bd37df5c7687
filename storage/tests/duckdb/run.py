"""Runs the statements of the guide in a data directory and prints what the views say, as JSON."""

import json
import re
import sys

import duckdb

guide = open(sys.argv[1], encoding="utf-8").read()
connection = duckdb.connect()
for block in re.findall(r"```sql\n(.*?)```", guide, re.S):
    connection.execute(block)


def rows(question):
    return [[int(cell) for cell in row] for row in connection.execute(question).fetchall()]


naive = """SELECT ordinal, sum(energy) FROM (
    SELECT ordinal, max(import_wh) - min(import_wh) AS energy FROM registers
    GROUP BY ordinal, date_trunc('hour', end_time - INTERVAL 1 MICROSECOND)
) GROUP BY ordinal ORDER BY ordinal"""
print(json.dumps({
    "registers": rows("SELECT ordinal, count(*), sum(import_wh) FROM registers "
                      "WHERE import_wh IS NOT NULL GROUP BY ordinal ORDER BY ordinal"),
    "energy": rows("SELECT * FROM energy_of_meters"),
    "missing": rows("SELECT ordinal, sum(intervals) FROM missing GROUP BY ordinal ORDER BY ordinal"),
    "naive": rows(naive),
}))
