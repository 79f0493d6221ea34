"""config.toml: strictly what it may say, and errors that name the line and the key."""

import pytest

from dpe_server.operation.config import MAX_REALM, ONE_MACHINE, Config, ConfigError, changed, host_name, parse, template

GOOD = 'realm = "r"\nuri = "coap://h"\n'
URL = "postgresql://dpe@db1,db2:5433/dpe?sslmode=verify-full"
SHARED = f'store = "{URL}"\n'


@pytest.mark.parametrize(
    "realm", ["dpe", 'quote " backslash \\ and \N{GREEK SMALL LETTER MU} \U0001f4df', "x" * MAX_REALM]
)
def test_the_text_of_a_new_configuration_says_what_it_was_made_with(realm: str) -> None:
    config = parse(template(realm, "coap://dpe.example:5684"))
    assert config == Config(realm, "coap://dpe.example:5684")
    assert parse(GOOD) == Config("r", "coap://h")


def test_all_keys() -> None:
    text = GOOD + 'listen = ["127.0.0.1:0", "[::1]:5683"]\nretry_after = 5\nretention = 0\n'
    assert parse(text) == Config("r", "coap://h", ("127.0.0.1:0", "[::1]:5683"), 5, 0)


@pytest.mark.parametrize(
    ("text", "line", "key", "fault"),
    [
        ('realm = "r"\n', None, "uri", "is missing"),
        ('uri = "coap://h"\n', None, "realm", "is missing"),
        (f"{GOOD}\n# more\nretry-after = 1\n", 5, "retry-after", "unknown key; known are realm, uri"),
        (f"{GOOD}[shop]\npath = 1\n", 3, "shop", "unknown key"),
        (f'{GOOD}"\\u001b[2J" = 1\n', 3, r"'\x1b[2J'", "unknown key"),
        (f"{GOOD}{'r' * 81} = 1\n", 3, "r" * 77 + "...", "unknown key"),
        (GOOD + "retry_after = 0\n", 3, "retry_after", "whole number of seconds from 1 to 4294967295"),
        (GOOD + "retry_after = 4294967296\n", 3, "retry_after", "whole number"),
        (GOOD + 'retry_after = "60"\n', 3, "retry_after", "whole number"),
        (GOOD + "retry_after = true\n", 3, "retry_after", "whole number"),
        (GOOD + "retention = -1\n", 3, "retention", "from 0 to"),
        (GOOD + "retention = 1.5\n", 3, "retention", "whole number"),
        (GOOD + "listen = []\n", 3, "listen", "expected a list of addresses"),
        (GOOD + 'listen = "127.0.0.1:1"\n', 3, "listen", "expected a list of addresses"),
        (GOOD + 'listen = ["a:1", 2]\n', 3, "listen", "expected a list of addresses"),
        (GOOD + 'listen = ["a:1", ""]\n', 3, "listen", "expected a list of addresses"),
        (GOOD + 'listen = ["a:1",\n"a:1"]\n', 3, "listen", "twice"),
        ('realm = ""\nuri = "coap://h"\n', 1, "realm", "name of 1 to 64 bytes"),
        ('realm = 5\nuri = "coap://h"\n', 1, "realm", "name of 1 to 64 bytes"),
        (f'realm = "{"x" * 65}"\nuri = "coap://h"\n', 1, "realm", "name of 1 to 64 bytes"),
        ('realm = "' + "\u03bc" * 33 + '"\nuri = "coap://h"\n', 1, "realm", "name of 1 to 64 bytes"),
        ('realm = "a\\nb"\nuri = "coap://h"\n', 1, "realm", "name of 1 to 64 bytes"),
        ('realm = "r"\nuri = "coap://h/path"\n', 2, "uri", "no path"),
        ('realm = "r"\nuri = ["coap://h"]\n', 2, "uri", "coap://HOST"),
        (GOOD + 'store = "sqlite:x"\n', 3, "store", "postgresql://USER@HOST"),
        (GOOD + "[store]\n", 3, "store", "postgresql://USER@HOST"),
        (GOOD + 'store = "postgresql://a:b@h/d"\n', 3, "store", "PGPASSFILE"),
        (GOOD + 'store = "postgresql://h/d?a=b&p%61ssword="\n', 3, "store", "PGPASSFILE"),
        (GOOD + SHARED + 'durability = "two machines"\n', 4, "durability", 'expected "one machine"'),
        (GOOD + SHARED + 'node = ""\n', 4, "node", "name of 1 to 64 bytes"),
        (GOOD + SHARED + 'node = "\\u001b"\n', 4, "node", "name of 1 to 64 bytes"),
        (GOOD + 'durability = "one machine"\n', 3, "durability", "no effect without the key `store`"),
        (GOOD + 'node = "n"\n', 3, "node", "no effect without the key `store`"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, line: int | None, key: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "some/config.toml")
    assert (caught.value.line, caught.value.key) == (line, key)
    assert str(caught.value).startswith("some/config.toml:" + (f"{line}: {key}: " if line else f" {key}: "))
    assert fault in str(caught.value)


def test_text_that_is_not_toml_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: not TOML: .*line 3"):
        parse(GOOD + "listen =\n")


@pytest.mark.parametrize("value", ["[" * 5_000, "{a=" * 5_000, "9" * 5_000], ids=["arrays", "tables", "digits"])
def test_text_that_is_more_than_a_reader_takes_is_told(value: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: not TOML: nested too deeply, or a number too long"):
        parse(f"{GOOD}listen = {value}")


def test_a_store_that_servers_share() -> None:
    config = parse(template("r", "coap://h", store=URL, node='n "1"', one_machine=True))
    assert config == Config("r", "coap://h", store=URL, node='n "1"', durability=ONE_MACHINE)
    assert parse(template("r", "coap://h", store=URL, node="n")).durability == ""
    assert parse(GOOD + SHARED).node == host_name() != ""
    assert "db1" not in repr(config)


@pytest.mark.parametrize(
    "url", ["postgresql://dpe:secret@h/d", "mysql://secret", "postgresql://h/d?sslpassword=secret"]
)
def test_the_url_of_a_store_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f'{GOOD}store = "{url}"\n')
    assert "secret" not in str(caught.value) + caught.value.hint


def test_values_are_changed_in_their_lines_or_added() -> None:
    text = f"# first\n{GOOD}{SHARED}node = 'a'  # this one\nretry_after = 5\n"
    assert changed(text, {"node": "b"}) == text.replace("node = 'a'  # this one", 'node = "b"')
    assert changed(GOOD, {"store": URL, "node": "b"}) == f'{GOOD}{SHARED}node = "b"\n'
    with pytest.raises(ConfigError, match="on one line"):
        changed(f'{GOOD}{SHARED}node = """\na"""\n', {"node": "b"})
