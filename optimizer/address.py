"""Addresses of endpoints and their keys, checked before anything is contacted."""

import contextlib
import ipaddress
import os
import re
from urllib.parse import urlsplit, urlunsplit

from optimizer.errors import InputError, Problem

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What the client adds to an address by itself.
_SERVICES = ("/chat/completions", "/embeddings")


def key_from_environment(name: str) -> str:
    """Return the key that an environment variable holds, without surrounding white space.

    Raises:
        InputError: When the variable is unset or empty, or cannot be a key; neither its value is ever shown, nor what
            is no name of a variable.
    """
    if (
        not _VARIABLE.fullmatch(name) and name not in os.environ
    ):  # most likely it is the key itself, which is not to be shown
        message = "expected the name of an environment variable such as OPENAI_API_KEY, found what is none"
        raise InputError([Problem(file="", message=f"{message}; is it the key itself?")])
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError([Problem(file="", message=f"the environment variable {name} is not set")])
    if not is_header_text(key):
        message = f"the environment variable {name} holds characters that no HTTP header can carry"
        raise InputError([Problem(file="", message=message)])
    return key


def base_url_problem(base_url: str, *, with_key: bool) -> str | None:
    """Return why an address cannot be used, or None. Passwords in it are never repeated."""
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError:
        return "base_url: expected an address such as https://api.openai.com/v1, found none that can be read"
    if url.scheme not in ("http", "https") or not host:
        found = (
            "another text" if set(base_url) & set("@?") else repr(base_url)
        )  # it may hold a password or a key
        return f"base_url: expected an address such as https://api.openai.com/v1, found {found}"
    if service := next((end for end in _SERVICES if url.path.rstrip("/").endswith(end)), None):
        return f"base_url: expected the address up to /v1, found one that goes on to {service}"
    if "@" in url.netloc:
        return f"base_url: expected no user name or password before {host}; name the key's variable in api_key_env"
    if with_key and url.scheme == "http" and not is_loopback(host):
        return f"base_url: refusing to send a key to {host} over plain http; use https"
    return None


def without_secrets(base_url: str) -> str:
    """Return the address without user name, password, query and final slash."""
    url = urlsplit(base_url)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path.rstrip("/"), "", ""))


def is_header_text(text: str) -> bool:
    """Return whether an HTTP header can carry a text."""
    return text.isascii() and text.isprintable()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
