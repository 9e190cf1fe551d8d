"""What counts as reading: only what certainly changes nothing, in doubt no (REQ-4)."""

from __future__ import annotations

import pytest

from holdfast.databases.reading import changes_rows, commits, ends_transaction, reads_only


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "select 1;",
        "  \n SELECT orders.id FROM orders WHERE orders.id = $1::INTEGER",
        "SELECT orders.id FROM orders WHERE orders.id = %(id_1)s::INTEGER LIMIT %(param_1)s",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "SELECT count(*) AS count_1 FROM (SELECT 1) AS anon_1",
        "SELECT lower(name), max(price) FROM items WHERE id IN (1, 2) GROUP BY name HAVING sum (x) > 3",
        "SELECT 'insert into orders'",
        "SELECT 'it''s -- /* fine'",
        'SELECT "update", `delete` FROM "insert"',
        "SELECT 1 -- delete from orders",
        "/* insert */ SELECT 1 /* ; update x */",
        "/* key='value' */ SELECT 1",
        "SELECT data #>> '{a,b}', data #- '{a}' FROM things",
        "WITH recent AS (SELECT * FROM orders) SELECT * FROM recent",
        "SELECT pg_catalog.version()",
        "VALUES (1, 2)",
        "TABLE orders",
        "SHOW statement_timeout",
        "EXPLAIN SELECT 1",
        "PRAGMA table_list",
        "BEGIN",
        "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "START TRANSACTION READ ONLY",
        "SET LOCAL statement_timeout = '5s'",
        "SAVEPOINT sa_savepoint_1",
        "ROLLBACK TO SAVEPOINT sa_savepoint_1",
        "RELEASE SAVEPOINT sa_savepoint_1",
        "RESET ALL",
    ],
)
def test_this_only_reads(statement: str) -> None:
    assert reads_only(statement) is True


@pytest.mark.parametrize(
    "statement",
    [
        "",
        ";",
        "-- nothing",
        "INSERT INTO orders VALUES (1)",
        "update orders set x = 1",
        "DELETE FROM orders",
        "MERGE INTO orders USING other ON true WHEN MATCHED THEN DO NOTHING",
        "CREATE TABLE x (id int)",
        "DROP TABLE x",
        "TRUNCATE orders",
        "CALL settle()",
        "DO 'BEGIN END'",
        "COMMIT",
        "END",
        "PREPARE TRANSACTION 'x'",
        "COPY orders FROM STDIN",
        "LOCK TABLE orders",
        "SELECT 1 INTO x",
        "SELECT * FROM orders FOR UPDATE",
        "WITH x AS (INSERT INTO orders VALUES (1) RETURNING id) SELECT * FROM x",
        "EXPLAIN ANALYZE INSERT INTO orders VALUES (1)",
        "EXPLAIN (ANALYZE) EXECUTE prepared",
        "PRAGMA user_version = 5",
    ],
)
def test_this_may_change_something(statement: str) -> None:
    assert reads_only(statement) is False


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT nextval('orders_id_seq')",
        "SELECT place_order()",
        "SELECT place_order ()",
        "SELECT place_order/* here */()",
        'SELECT "place_order"(1)',
        "SELECT [place_order](1)",
        "SELECT audit.count(1)",
        "SELECT audit . count (1)",
        'SELECT "audit".count(1)',
        "SELECT éabs(1)",
        "SET x = place_order()",
        "SHOW place_order()",
    ],
)
def test_a_function_that_is_not_known_may_do_anything(statement: str) -> None:
    assert reads_only(statement) is False


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1; DROP TABLE orders",
        "BEGIN; INSERT INTO orders VALUES (1)",
        "SET x = 1; COMMIT",
        "SELECT ';' ; ; DELETE FROM orders",
    ],
)
def test_what_begins_by_reading_may_go_on_otherwise(statement: str) -> None:
    assert reads_only(statement) is False


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT '--', place_order()",
        "SELECT '/*', place_order(), '*/'",
        'SELECT "--", place_order()',
        "SELECT '''--', place_order()",
        r"SELECT E'\'', place_order(), ''",
        "SELECT $$'$$, place_order(), $$'$$",
        "SELECT $a$'$a$, place_order(), '",
        "SELECT 1 /* /* */ ' */, place_order() --'",
        "SELECT 1 /*! , place_order() */",
        "SELECT 1 --' \n, place_order() --'",
        "SELECT 1 # it's \n, place_order() -- '",
        "SELECT 1 ` , place_order() `",
        "SELECT 'never closed",
        "SELECT 1 /* never closed",
    ],
)
def test_nothing_hides_behind_a_quote_or_a_comment(statement: str) -> None:
    assert reads_only(statement) is False


@pytest.mark.parametrize(
    "statement", ["COMMIT", " commit ;", "END", "/* x */ COMMIT AND CHAIN", "UPDATE x; COMMIT"]
)
def test_a_commit_in_a_statement_is_a_commit(statement: str) -> None:
    """TXN-4: sent by hand it is in doubt like any other."""
    assert commits(statement)


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO x VALUES (1)", "UPDATE x SET y = 'a; COMMIT'", "DELETE FROM commits", "ROLLBACK"],
)
def test_other_statements_leave_the_transaction_open(statement: str) -> None:
    assert not commits(statement)


@pytest.mark.parametrize(
    ("statement", "ends"),
    [
        ("DO $$ BEGIN UPDATE items SET name = 'x'; END $$", False),
        ("DO $body$ BEGIN PERFORM f(); COMMIT; END $body$", False),
        ("UPDATE items SET name = 'x'; COMMIT", True),
        ("COMMIT", True),
        ("DO $$ BEGIN NULL; END $$; COMMIT", True),
    ],
)
def test_a_program_ends_its_own_blocks_only(statement: str, ends: bool) -> None:
    assert commits(statement) is ends


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        (" commit ;", "COMMIT"),
        ("END", "COMMIT"),
        ("/* x */ COMMIT AND CHAIN", "COMMIT"),
        ("-- x\nCOMMIT", "COMMIT"),
        ("--x\nCOMMIT", "COMMIT"),
        ("UPDATE x SET y = 1; COMMIT", "COMMIT"),
        ("DO $$ BEGIN NULL; END $$; COMMIT", "COMMIT"),
        ("ROLLBACK", "ROLLBACK"),
        ("/* x */ rollback work", "ROLLBACK"),
        ("SELECT 1; ROLLBACK", "ROLLBACK"),
        ("ABORT", "ROLLBACK"),
        ("ROLLBACK TO one", ""),
        ("ROLLBACK TRANSACTION TO SAVEPOINT one", ""),
        ("rollback\nwork to one", ""),
        ("RELEASE SAVEPOINT one", ""),
        ("UPDATE x SET y = 'a; COMMIT'", ""),
        ("INSERT INTO x VALUES (E'it\\'s; commit')", ""),
        ("DELETE FROM commits", ""),
        ("SELECT CASE WHEN true THEN 1 END", ""),
        ("DO $$ BEGIN UPDATE x SET y = 1; COMMIT; END $$", ""),
        ("CREATE TRIGGER t AFTER INSERT ON x BEGIN UPDATE x SET y = 1; END", ""),
        ("SELECT 1 --; COMMIT", ""),
    ],
)
def test_what_ends_a_transaction(statement: str, word: str) -> None:
    """TXN-1: a comment hides nothing, and no other statement is taken for one."""
    assert ends_transaction(statement) == word


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("INSERT INTO orders VALUES (1)", True),
        ("  /* who */ update orders set a = 1", True),
        ("DELETE FROM orders", True),
        ("VACUUM orders", False),
        ("CREATE INDEX CONCURRENTLY i ON orders (a)", False),
        ("CALL place_order()", False),
        ("INSERT INTO a VALUES (1); VACUUM", False),
        ("SELECT nextval('s')", False),
    ],
)
def test_what_may_stand_in_any_transaction(statement: str, changes: bool) -> None:
    assert changes_rows(statement) is changes
