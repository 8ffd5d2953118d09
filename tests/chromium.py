"""A headless Chromium, the distribution's, for the tests of the explorer."""

import os
import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def browser():
    """Debian's Chromium by playwright; skips, or fails where it was asked for, without it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "no chromium: apt-get install chromium"
        if os.environ.get("INVCONV_REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


def open_page(opened, path, width=1280, height=900, address=""):
    """A tab with the explorer at ``path``, and the list of whatever should not happen in it."""
    tab = opened.new_page(viewport={"width": width, "height": height})
    wrong = []
    tab.on("console", lambda said: wrong.append(said.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    own = ("blob:", "data:", path.as_uri())
    tab.on("request", lambda sent: sent.url.startswith(own) or wrong.append(sent.url))
    tab.goto(path.as_uri() + address)
    tab.wait_for_selector("body[data-ready]")
    return tab, wrong
