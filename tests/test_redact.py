"""What is masked in code and command lines, and what is left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.capture.redact import MASK, NullRedactor, Redactor
from tablevault_pd.session.params import Params

AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "abc-DEF_123"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----"

SECRET = [  # (code, the part that must be gone)
    (f"boto3.client(aws_access_key_id='{AWS}')", AWS),
    (f"x = '{AWS}'", AWS),
    ("aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG'", "wJalr"),
    (f"gh = '{GITHUB}'", GITHUB),
    ("t = 'github_pat_" + "A1" * 20 + "'", "A1A1"),
    (f"headers = {{'Authorization': 'Bearer {JWT}'}}", JWT),
    (f"jwt = '{JWT}'", JWT),
    ("requests.get(u, headers={'Authorization': 'Basic dXNlcjpwYXNz'})", "dXNlcjpwYXNz"),
    (f"key = '''{PEM}'''", "MIIEow"),
    ("key = '''-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow"),
    ('password = "hunter2"', "hunter2"),
    ("password: str = 'hunter2'", "hunter2"),
    ("PASSWORD='hunter2'", "hunter2"),
    ("db_passwd = r'hunter2'", "hunter2"),
    ("connect(user='ann', password='hunter2', port=1)", "hunter2"),
    ('config = {"password": "hunter2"}', "hunter2"),
    ('os.environ["OPENAI_API_KEY"] = "hunter2"', "hunter2"),
    ('os.environ.setdefault("HF_TOKEN", "hunter2")', "hunter2"),
    ("client.set_password('hunter2')", "hunter2"),
    ("if password == 'hunter2': pass", "hunter2"),
    ("(token := 'hunter2')", "hunter2"),
    ('secret = """hunter2\nline"""', "hunter2"),
    ("tv.connect('arangodb://ann:hunter2@host:8529/db')", "hunter2"),
    ("psycopg.connect('postgresql://ann:hunter2@host/db')", "hunter2"),
    ("requests.get('https://host/x?page=1&access_token=hunter2')", "hunter2"),
    ("requests.get(u, auth=('ann', 'hunter2'))", "hunter2"),
    ("%env API_TOKEN=hunter2", "hunter2"),
    ("!curl --token=hunter2 https://host", "hunter2"),
    ("export PASSWORD=hunter2", "hunter2"),
    ("openai.api_key = 'sk-" + "x" * 40 + "'", "xxxx"),
    ("slack('xoxb-1234567890-abcdef')", "xoxb-1"),
    ("os.getenv('DB_PASSWORD', 'hunter2')", "hunter2"),
    ("print('it', 'is'); password = 'hunter2'", "hunter2"),
    ("# it's here: password = 'hunter2'", "hunter2"),
    ("password = 'with \\' hunter2'", "hunter2"),
]
PLAIN = [
    "tokenizer = AutoTokenizer.from_pretrained('bert-base-uncased')",
    "pad_token = '<pad>'; eos_token='</s>'",
    "tokens = 'a b c'.split()",
    "max_tokens = 512",
    "password = getpass()",
    "token = os.environ['TOKEN']",
    "secret_santa = 'Bob'",
    "df = pd.DataFrame({'title': ['Storm'], 'url': ['https://example.org/a?b=1']})",
    "keys = ['a', 'b']; key = 'a'",
    "print('user:pass')",
    "monkey = 'banana'; compass = 'north'",
    "passage = 'It was late.'",
    "author = 'Ann'; auth_method = 'none'",
    "x = d['a:b@c']",
    "df = df[['token', 'pos']]",
    "print('secret:', 'x')",
    "print('the token: ', x, 'pos')",
    "labels = ['password', 'x'] + ('secret', 'y')",
    "text = 'password='; other = 'x'",
]


@pytest.mark.parametrize(("code", "secret"), SECRET)
def test_secrets_are_masked_and_the_rest_stays(code, secret):
    masked = Redactor({}).text(f"before = 1\n{code}\nafter = 2\n")
    assert secret not in masked
    assert MASK in masked
    assert masked.startswith("before = 1\n")
    if "BEGIN PRIVATE" not in code:
        assert masked.endswith("\nafter = 2\n")
    assert Redactor({}).text(masked) == masked


@pytest.mark.parametrize("code", PLAIN)
def test_code_without_secrets_stays_as_it_is(code):
    assert Redactor({}).text(code) == code


def test_values_of_telling_environment_variables():
    redactor = Redactor(
        {"MY_API_KEY": "abcdefgh12", "MY_API_KEY_2": "x", "HOME": "/home/ann", "DB_PASSWORD": "abcdefgh"}
    )
    assert (
        redactor.text("f('abcdefgh12', 'abcdefgh', '/home/ann', 'x')")
        == f"f('{MASK}', '{MASK}', '/home/ann', 'x')"
    )


def test_the_working_directory_is_no_secret(tmp_path):
    folder = str(tmp_path)
    surroundings = {"PWD": folder, "OLDPWD": "/gone/since", "DB_PASSWORD": folder, "MAX_TOKENS": "100000000"}
    code = f"read_csv('{folder}/train.csv', '/gone/since/x', nrows=100000000)"
    assert Redactor(surroundings).text(code) == code


def test_parameters_are_masked_by_name_at_any_depth():
    params = Params(
        {"db": {"password": "hunter2", "user": "ann"}, "api_key": "abc", "pad_token": "<pad>", "token": 5}
    )
    assert params == {
        "db": {"password": MASK, "user": "ann"},
        "api_key": MASK,
        "pad_token": "<pad>",
        "token": 5,
    }


def test_command_lines():
    given = [
        "train.py",
        "--lr",
        "0.1",
        "--token",
        "abc",
        "--api-key=def",
        "--password",
        "--verbose",
        "--max-tokens",
        "5",
    ]
    assert Redactor({}).arguments(given) == [
        "train.py", "--lr", "0.1", "--token", MASK, f"--api-key={MASK}", "--password", "--verbose", "--max-tokens", "5",
    ]  # fmt: skip
    assert NullRedactor().arguments(given) == given


@given(st.text(alphabet="password=token:'\"\\ \n_-.@/x1%!", max_size=300))
@settings(max_examples=times(80))
def test_any_text_is_masked_once(text):
    redactor = Redactor({})
    once = redactor.text(text)
    assert (
        redactor.text(once).count(MASK) >= once.count(MASK) - 1
    )  # it never fails, and never brings anything back


def test_long_odd_texts_take_no_time_at_all():
    for odd in (
        "a-" * 25_000,
        "password" * 10_000,
        "'" * 50_000,
        "token=" * 12_000,
        "x" * 250_000,
        "://a:" * 15_000,
        '\\"' * 12_000,
        'password="' * 8_000,
    ):
        before = time.monotonic()
        Redactor({}).text(odd)
        assert time.monotonic() - before < 20  # some seconds at most; it would be hours if it were quadratic
