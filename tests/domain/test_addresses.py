"""Which URLs and addresses may be called."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.addresses import (
    Address,
    is_loopback,
    is_reachable,
    parse_networks,
    require_callable,
)
from service.errors import InvalidInput

PUBLIC = "93.184.215.14"


def is_callable(url: str, *allowed: str) -> bool:
    """Whether the URL is accepted."""
    try:
        require_callable("url", url, parse_networks(allowed))
    except InvalidInput:
        return False
    return True


def spellings(address: IPv4Address) -> list[str]:
    """The ways to write an address that `inet_aton` accepts."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        str(address),
        f"{address}.",
        *(str(number), hex(number), f"0{number:o}", f"0X{number:X}"),
        *(f"{a}.{number & 0xFFFFFF}", f"{a:#x}.{b:#x}.{(c << 8) + d}", f"0{a:o}.0{b:o}.{c}.{d:#x}"),
        "".join(chr(ord(each) + 0xFEE0) for each in str(address)),  # full width
        str(address).replace(".", "\u3002"),
    ]


def embeddings(address: IPv4Address) -> list[IPv6Address]:
    """The IPv6 addresses that lead to an IPv4 address."""
    return [
        IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed),
        IPv6Address(b"\x20\x02" + address.packed + b"\0" * 10),
        IPv6Address(b"\0\x64\xff\x9b" + b"\0" * 8 + address.packed),
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/luma?key=1",
        "http://hooks.example",
        "HTTPS://hooks.example:8443/",
        "https://my_service/",
        "https://bücher.example/",
        "https://例え.テスト/",
        "https://localhost/",  # a name: checked when it is dialled
        "https://0x1p/",
        f"http://{PUBLIC}/",
        "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:8080/",
        "http://[2001:4860:4860::8888]/",
    ],
)
def test_http_urls_of_names_and_public_addresses_can_be_called(url: str) -> None:
    assert is_callable(url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example", "//hooks.example/", "ftp://hooks.example/", "file:///etc/passwd"),
        *("https://", "https:///path", "https:hooks.example", "https://.", "https://a..b/"),
        *("https://user@hooks.example/", "https://user:pass@hooks.example/", "https://@a.example/"),
        *("https://hooks.example:0/", "https://hooks.example:65536/", "https://hooks.example:/"),
        *("https://hooks.example:http/", "https://hooks.example:-1/", "https://[::1/"),
        *("https://hooks.example\\@127.0.0.1/", "https://hooks.example/a b", " https://a.example"),
        *("https://hooks.example\n/", "https://hooks\t.example/", "https://a.example/\ud800"),
        *("https://%31%32%37.0.0.1/", "https://127.0.0.1%2f@a.example/", "https://a%00.example/"),
        *("https://[v1.fe80::]/", "https://[127.0.0.1]/", "https://[fe80::1]x/", "https://x[::1]/"),
        *("https://1.2.3.4.5/", "https://256.1.1.1/", "https://a.example.1/"),
        *("https://08.8.8.8/", "https://4294967296/", "https://1..2/", "https://hooks.example.0x/"),
        "https://hooks.example/" + "a" * 2048,
        "https://" + "a." * 150 + "example/",
    ],
)
def test_a_url_that_can_never_be_called_is_refused(url: str) -> None:
    assert not is_callable(url)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1"),
        *("127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1"),
        *("192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:10.0.0.1", "64:ff9b:1::1", "64:ff9b::10.0.0.1"),
        *("100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::", "3fff::1"),
        *("5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
        *("2606:4700::1111%1", "4000::1", "1::1"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_reachable(ip_address(address), ())
    assert not is_callable(f"http://[{address}]/" if ":" in address else f"http://{address}/")


@given(st.ip_addresses(v=4))
def test_every_spelling_of_an_address_is_judged_like_the_address(address: IPv4Address) -> None:
    expected = is_reachable(address, ())
    assert {is_callable(f"http://{spelt}/") for spelt in spellings(address)} == {expected}


@given(st.ip_addresses(v=4))
def test_an_ipv6_address_is_as_reachable_as_the_ipv4_address_in_it(address: IPv4Address) -> None:
    expected = is_reachable(address, ())
    assert {is_reachable(each, ()) for each in embeddings(address)} == {expected}
    assert {is_callable(f"http://[{each}]/") for each in embeddings(address)} == {expected}


@given(st.ip_addresses())
def test_no_reachable_address_is_private_for_python(address: Address) -> None:
    if is_reachable(address, ()):
        embedded = isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour)
        assert not (embedded or address).is_private
        assert not address.is_multicast


@given(st.text("0123456789abcdefxX.", min_size=1, max_size=20))
def test_no_other_spelling_that_the_resolver_knows_reaches_a_private_address(host: str) -> None:
    try:
        resolved = IPv4Address(socket.inet_aton(host))
    except OSError:
        return
    assert is_callable(f"http://{host}/") is is_reachable(resolved, ())


@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused(text: str) -> None:
    is_callable(text)
    is_callable(f"http://{text}/")


@given(st.ip_addresses())
def test_an_allowed_network_is_reachable(address: Address) -> None:
    assert is_reachable(address, [ip_network(address)])


def test_allowed_networks_count_for_the_embedded_address_too() -> None:
    assert is_callable("http://127.0.0.1:9999/hook", "127.0.0.0/8")
    assert is_callable("http://[::ffff:127.0.0.1]/", "127.0.0.0/8")
    assert is_callable("http://2130706433/", "127.0.0.0/8")
    assert not is_callable("http://10.0.0.1/", "127.0.0.0/8")
    assert not is_callable("http://[::1]/", "127.0.0.0/8")


def test_the_message_shows_neither_credentials_nor_the_path() -> None:
    for url in ("https://user:hunter2@a.example/", "https://10.0.0.1/hunter2", "x://hunter2/"):
        with pytest.raises(InvalidInput) as refused:
            require_callable("callback_url", url, ())
        assert "hunter2" not in f"{refused.value} {refused.value.hint}"
        assert refused.value.field == "callback_url"


def test_a_network_with_host_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        parse_networks(["10.0.0.1/8"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.255", "::1"])
def test_loopback_is_spelt_in_few_ways(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        *("", "localhost.", "a.localhost", "localhost.example", "0.0.0.0", "::", "128.0.0.1"),
        *("127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1.", "127.0.0.1.t.example"),
        *("::ffff:127.0.0.1", "::127.0.0.1", "::1%lo", "[::1]", "127.0.0.1:80", " 127.0.0.1"),
        *("１27.0.0.1", "127。0.0.1", "lоcalhost", "192.168.0.7"),
    ],
)
def test_nothing_else_is_loopback(host: str) -> None:
    assert not is_loopback(host)
