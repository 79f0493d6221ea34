"""The SQL about nodes. Their tables have a few rows, of which a statement may read all."""

BIND = "INSERT INTO binding VALUES (1, %s, %s) ON CONFLICT (one) DO NOTHING"
BINDING = "SELECT realm, at_rest FROM binding WHERE one = 1"
ENTER_NODE = "INSERT INTO node (name, made_at, keys) VALUES (%s, %s, %s) ON CONFLICT (name) DO NOTHING"
NODE_HAS = "UPDATE node SET keys = %s WHERE name = %s"
TELL = (
    "WITH told AS (INSERT INTO node AS n"
    " (name, made_at, started_at, seen_at, stopped, ahead, instance, version, policy, keys)"
    " VALUES (%(name)s, %(now)s, %(started_at)s, clock_timestamp(), false,"
    " %(now)s - floor(extract(epoch FROM clock_timestamp()))::int8,"
    " %(instance)s, %(version)s, %(policy)s, %(keys)s)"
    " ON CONFLICT (name) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at, stopped = false,"
    " ahead = excluded.ahead, instance = excluded.instance, version = excluded.version, policy = excluded.policy,"
    " keys = excluded.keys) SELECT instance FROM node WHERE name = %(name)s"
)
"""What it answers is as it was before."""
STOP_NODE = "UPDATE node SET stopped = true WHERE name = %s AND instance = %s"
NODES = (
    "SELECT name, version, policy, keys, started_at,"
    " CASE WHEN NOT stopped THEN floor(extract(epoch FROM clock_timestamp() - seen_at))::int8 END, ahead"
    " FROM node ORDER BY name"
)
RECOVERED = "INSERT INTO recovery (beat, journal) VALUES (%s, %s) ON CONFLICT (beat, journal) DO NOTHING"
RECOVERY = (
    "SELECT b.number, b.random FROM recovery AS r JOIN beat AS b ON b.number = r.beat"
    " WHERE r.beat > %s AND r.journal = %s ORDER BY r.beat DESC LIMIT 1"
)
FORGET_NODE = "DELETE FROM node WHERE name = %s"
GENERATIONS = "SELECT kind, number, fingerprint, active FROM generation ORDER BY kind, number"
ADD_GENERATION = "INSERT INTO generation VALUES (%s, %s, %s, %s) ON CONFLICT (kind, number) DO NOTHING"
ACTIVATE = "UPDATE generation SET active = true WHERE kind = %s AND number = %s"
COUNT_NODES = "SELECT count(*) FROM node"
