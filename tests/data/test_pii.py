import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.files import read_json
from lmpipe.data.documents import read_documents
from lmpipe.data.pii.api_key import entropy
from lmpipe.data.pii.config import PiiConfig
from lmpipe.data.pii.credit_card import passes_luhn
from lmpipe.data.pii.find import FINDERS, find
from lmpipe.data.pii.iban import LENGTHS, passes_mod_97
from lmpipe.data.pii.masking import mask, masked

ALL = tuple(FINDERS)


def found(text, *kinds, **options):
    return [(text[span.start : span.end], span.kind) for span in find(text, kinds or ALL, **options)]


def key_of(prefix, length, alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"):
    """Keys are put together here, so that no file holds anything that looks like one."""
    return prefix + "".join(random.Random(prefix).choices(alphabet, k=length))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("write to ann.lee+news@mail.example.co.uk, please", "ann.lee+news@mail.example.co.uk"),
        ("mailto:me@example.org?subject=x", "me@example.org"),
        ("<o'brien@example.org>", "o'brien@example.org"),
        ("user=me@example.org&x=1", "me@example.org"),
        ("(me@example.org).", "me@example.org"),
        ("Grüße an me@example.org", "me@example.org"),
    ],
)
def test_email_addresses(text, address):
    assert found(text) == [(address, "email")]


@pytest.mark.parametrize(
    "text", ["@decorator.name", "a @ b.c", "me@localhost", "x = a@b", "user@host.1234", "@", "@@example.org"]
)
def test_what_only_looks_like_an_email_address(text):
    assert found(text) == []


@pytest.mark.parametrize("address", ["106.31.73.20", "86.121.97.248", "2a02:8109:9c40:5d48::12f3", "2001:4860:4860::8888"])
def test_public_ip_addresses(address):
    for text in (f"from {address}:", f"({address})", f"{address}\n", f"connected to {address}, then"):
        assert found(text) == [(address, "ip")]


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.178.21",
        "255.255.255.0",
        "203.0.113.7",
        "::1",
        "fe80::1ff:fe23:4567:890a",
        "2001:db8:85a3::8a2e:370:7334",
    ],
)
def test_addresses_of_no_machine_on_the_internet_stay_unless_asked_for(text):
    assert found(f"at {text} now", "ip") == []
    if len(text) > 3:
        assert found(f"at {text} now", "ip", public_ips_only=False) == [(text, "ip")]


@pytest.mark.parametrize(
    "text",
    [
        "numpy==21.14.13.12",
        "version 11.22.33.44",
        "v10.12.114.5",
        "section 1.2.3.4",
        "1.2.3.4",
        "8.2.4.44",
        "OID 1.3.6.1.4.1.311.21.20",
        "12.30.45.256",
        "1.02.30.40",
        "12:30:45",
        "std::vec::Vec",
        "array[2021:2022:3]",
        "00:1B:44:11:3A:B7",
    ],
)
def test_versions_times_and_scopes_are_no_addresses(text):
    assert found(text, "ip", public_ips_only=False) == []
    assert found("the server's address is 1.2.3.4", "ip", public_ips_only=False) == [("1.2.3.4", "ip")]


@pytest.mark.parametrize(
    "number",
    [
        "+1-984-182-0190",
        "+46 (0)8 928 571 38",
        "+447700 921 916",
        "+33 6 12 34 56 78",
        "905-674-3793",
        "(579)888-3058",
        "259.735.7502",
        "001-518-640-0854",
        "03.93.92.16.85",
        "0490 75 40 81",
        "07700 063 966",
        "345-899-3560x4587",
    ],
)
def test_phone_numbers_by_their_shape(number):
    assert found(f"reach us: {number}.") == [(number, "phone")]


@pytest.mark.parametrize("number", ["467 3395", "9472 7916", "9498777106", "60-56-85-91"])
def test_ambiguous_numbers_are_phone_numbers_beside_a_telling_word(number):
    assert found(f"there were {number} of them") == []
    assert found(f"Phone: {number}") == [(number, "phone")]
    assert found(f"{number} (office)"[: len(number)] + " office") == [(number, "phone")]


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-02 12:30:45",
        "01.02.2023",
        "0xDEADBEEF 00 01 02 03 04 05 06 07",
        "pi = 3.14159265358979",
        "+3.140000",
        "'+000000120'",
        "1 234 567 890 people",
        "ISBN 0-13-110362-8",
        "range(100, 200, 3000)",
        "123-456-789-0123-4567",
        "id=905-674-3793-8821",
        "#905-674-3793",
    ],
)
def test_other_digits_are_no_phone_numbers(text):
    assert found(text, "phone") == []


CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "5500-0055-5555-5559",
    "378282246310005",
    "3782 822463 10005",
    "30569309025904",
    "6011000990139424",
]


@pytest.mark.parametrize("number", CARDS)
def test_card_numbers_pass_the_luhn_check(number):
    assert found(f"card {number}, expires soon") == [(number, "credit_card")]
    last = int(number[-1])
    assert found(f"card {number[:-1]}{(last + 1) % 10}, expires soon", "credit_card") == []


@pytest.mark.parametrize(
    "text", ["0.4111111111111111", "x4111111111111111", "4111111111111111_id", "4000000000000006", "1111111111111117"]
)
def test_other_long_numbers_are_no_cards(text):
    assert found(text, "credit_card") == []


@settings(deadline=None, max_examples=200)
@given(st.text("0123456789", min_size=11, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_luhn_finds_every_single_wrong_digit(digits, place, change):
    check = next(digit for digit in "0123456789" if passes_luhn(digits + digit))
    number = digits + check
    place %= len(number)
    wrong = number[:place] + str((int(number[place]) + change) % 10) + number[place + 1 :]
    assert not passes_luhn(wrong)


@pytest.mark.parametrize(
    "iban", ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "gb42nawi04454264788619", "NO9386011117947"]
)
def test_ibans_of_the_right_length_pass_mod_97(iban):
    assert found(f"pay to {iban} today") == [(iban, "iban")]
    assert found(f"pay to {iban}.") == [(iban, "iban")]
    last = "7" if iban[-1] != "7" else "8"
    assert found(f"pay to {iban[:-1]}{last} today", "iban") == []


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(LENGTHS)), st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=40, max_size=40), st.data())
def test_mod_97_finds_every_wrong_and_every_swapped_character(country, body, data):
    rest = body[: LENGTHS[country] - 4]
    check = next(f"{n:02}" for n in range(2, 99) if passes_mod_97(f"{country}{n:02}{rest}"))
    iban = f"{country}{check}{rest}"
    assert found(iban, "iban") == [(iban, "iban")]
    place = data.draw(st.integers(4, len(iban) - 1))
    other = data.draw(st.sampled_from([c for c in "0123456789" if c != iban[place]]))
    if iban[place].isdigit():
        assert not passes_mod_97(iban[:place] + other + iban[place + 1 :])


@pytest.mark.parametrize(
    "key",
    [
        key_of("AKIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        key_of("ghp_", 36),
        key_of("github_pat_", 60),
        key_of("xoxb-", 40, "0123456789abcdef-"),
        key_of("AIza", 35),
        key_of("sk_live_", 24),
        key_of("sk-", 48),
        key_of("sk-proj-", 60),
        key_of("hf_", 34),
    ],
)
def test_keys_carry_the_prefix_of_their_issuer(key):
    assert found(f'token = "{key}"\n', "api_key") == [(key, "api_key")]
    assert found(f"x{key}", "api_key") == []


def test_private_keys_and_web_tokens_are_taken_whole():
    lines = "\n".join(key_of(str(number), 64) for number in range(20))
    for name in ("RSA ", "EC ", "OPENSSH ", ""):
        block = f"-----BEGIN {name}PRIVATE KEY-----\n{lines}\n-----END {name}PRIVATE KEY-----"
        assert found(f"before\n{block}\nafter", "api_key") == [(block, "api_key")]
    token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + key_of("", 43)
    assert found(f"Authorization: Bearer {token}", "api_key") == [(token, "api_key")]
    cut = f"-----BEGIN PRIVATE KEY-----\n{lines}\n"
    assert found(cut + "# the end is missing", "api_key")[0][0].startswith(cut.rstrip())


@pytest.mark.parametrize(
    "text",
    [
        "sk-toggleable__content-and-a-long-class-name",
        "AKIAXXXXXXXXXXXXXXXX",
        "ghp_" + "x" * 36,
        "-----BEGIN PRIVATE KEY-----",
        "'-----BEGIN RSA PRIVATE KEY-----...-----END RSA PRIVATE KEY-----'",
        "eyJub3QiOiJhIHRva2VuIn0.eyJub3QiOiJhIHRva2VuIn0.abcdefghijkl",
        "risk-averse",
    ],
)
def test_examples_and_fillers_are_no_keys(text):
    assert found(text, "api_key") == []


def test_entropy_in_bits_per_character():
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2


def test_spans_do_not_overlap_and_the_more_certain_kind_stays():
    text = "pay GB82WEST12345698765432 or 4111111111111111, call 905-674-3793, mail 4111111111111111@example.org"
    spans = find(text, ALL)
    assert [span.kind for span in spans] == ["iban", "credit_card", "phone", "credit_card"]
    assert all(one.end <= other.start for one, other in pairwise(spans))


PIECES = st.sampled_from(
    ["me@example.org", "905-674-3793", "4111111111111111", "GB82WEST12345698765432", "106.31.73.20", "phone", "call me", " ",
     ", ", "\n", "+", "467 3395", "@", ".", "-", "7", "0490 75 40 81", "(", ")", "office", "tel: ", "x"]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=14))
def test_what_is_masked_is_not_found_again_and_the_rest_stays(pieces):
    text = "".join(pieces)
    spans = find(text, ALL)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    clean = masked(text, spans)
    outside = "".join(
        text[a:b] for a, b in zip([0, *(s.end for s in spans)], [*(s.start for s in spans), len(text)], strict=True)
    )
    for kind in ALL:
        clean = clean.replace(f"<{kind.upper()}>", "")
    assert clean == outside


def test_long_hostile_texts_take_linear_time():
    for unit in ("a", "1", "1 ", "a.", "+1", "a@", "1.", "a:", "-", "(1", "eyJ", "sk-", "@a.", "0 1-"):
        find(unit * 100_000, ALL, public_ips_only=False)


TEXTS = ["write to me@example.org or you@example.org", "nothing here", "call 905-674-3793"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("mask", ["write to <EMAIL> or <EMAIL>", "nothing here", "call <PHONE>"]),
        ("drop", ["nothing here"]),
        ("tag", TEXTS),
    ],
)
def test_actions(write_documents, folders, action, expected):
    documents = write_documents(TEXTS, part_bytes=20)
    output, options = folders()
    ledger = mask(documents, output, config=PiiConfig(action=action), **options)
    left = list(read_documents(output))
    assert [document.text for document in left] == expected
    assert ledger.rows_in == 3
    assert ledger.dropped == ({"pii.email": 1, "pii.phone": 1} if action == "drop" else {})
    facts = read_json(output / "pii.json")
    assert facts["action"] == action
    assert facts["documents"] == 2
    assert {kind: n for kind, n in facts["counts"].items() if n} == {"email": 2, "phone": 1}
    assert "example.org" not in (output / "pii.json").read_text()
    metas = [document.meta for document in left]
    assert metas == (['{"pii":{"email":2}}', "{}", '{"pii":{"phone":1}}'] if action == "tag" else ["{}"] * len(left))


def test_only_the_entities_asked_for(write_documents, folders):
    output, options = folders()
    config = PiiConfig(entities=("ip",), public_ips_only=False)
    mask(write_documents(["me@example.org at 127.0.0.1"]), output, config=config, **options)
    assert [document.text for document in read_documents(output)] == ["me@example.org at <IP>"]
    assert read_json(output / "pii.json")["counts"] == {"ip": 1}
