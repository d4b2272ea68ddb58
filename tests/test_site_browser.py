"Every page of the built documentation in headless Chromium: `make docs-test`."
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.test_site import PAGES, SITE, each_page

sync_api = pytest.importorskip('playwright.sync_api', reason="needs Playwright: run make docs-test")
from axe_playwright_python.sync_playwright import Axe  # noqa: E402

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [pytest.mark.skipif(not CHROMIUM, reason='needs Chromium: apt-get install chromium'),
              pytest.mark.skipif(not PAGES, reason='no _docs: run make docs')]
each_theme = pytest.mark.parametrize('theme', ['light', 'dark'])

class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def url():
    "Address of the site, served on this machine"
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(QuietHandler, directory=SITE))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

@pytest.fixture(scope='module')
def browser():
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])     # containers run as root
        yield browser
        browser.close()

@pytest.fixture
def tab(browser, url):
    "Open a page; errors and requests to other places are in `tab.errors` and `tab.outside`"
    tabs = []
    def open_(page, width=1280, theme='light'):
        tab = browser.new_page(viewport=dict(width=width, height=900), color_scheme=theme, reduced_motion='reduce')
        tabs.append(tab)
        tab.errors, tab.outside = [], []
        tab.on('console', lambda m: tab.errors.append(m.text) if m.type in ('error', 'warning') else None)
        tab.on('pageerror', lambda e: tab.errors.append(str(e)))
        tab.on('request', lambda r: None if r.url.startswith((url, 'data:')) else tab.outside.append(r.url))
        tab.on('response', lambda r: tab.errors.append(f'{r.status} {r.url}') if r.status >= 400 else None)
        tab.goto(f'{url}/{page}')
        return tab
    yield open_
    for t in tabs: t.close()

@each_page
def test_page_loads_without_errors_and_outside_requests_and_fits_on_screens(tab, page):
    t = tab(page)
    assert not t.errors and not t.outside
    for width in (390, 1400):
        t.set_viewport_size(dict(width=width, height=900))
        wide = f"() => [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > {width + 1}).slice(0, 3)" \
               ".map(e => e.outerHTML.slice(0, 120))"
        assert t.evaluate('document.documentElement.scrollWidth') <= width, t.evaluate(wide)

@each_theme
@each_page
def test_text_has_enough_contrast(tab, page, theme):
    rules = ['color-contrast', 'image-alt', 'link-name', 'button-name', 'duplicate-id-aria']
    found = Axe().run(tab(page, theme=theme), options=dict(runOnly=rules))
    assert not found.response['violations'], found.generate_report()

def results(t):
    "Addresses of the pages that a search has found"
    t.wait_for_function("document.querySelector('#search-results p')?.innerText.match(/found|match/i)")
    return [a.get_attribute('href') for a in t.query_selector_all('#search-results a')]

@pytest.mark.parametrize('word,page', [('GRUAttentionPlus', 'models.rnn_attention.html'), ('padding_mask', 'core.html'),
                                       ('TSStandardize', 'data.transforms.html')])
def test_search_finds_public_names(tab, word, page):
    t = tab(f'search.html?q={word}')
    assert any(o.startswith(page) for o in results(t))
    assert not t.errors and not t.outside

def test_search_does_not_find_helpers_of_the_documentation(tab): assert results(tab('search.html?q=summary_and_errors')) == []

def test_search_from_the_box_of_a_page(tab):
    t = tab('index.html')
    t.fill('input[name=q]', 'AttentiveRNN')
    t.press('input[name=q]', 'Enter')
    t.wait_for_url('**/search.html?**')
    assert any(o.startswith('models.attentive_rnn.html') for o in results(t))

def test_theme_can_be_changed_and_pages_turned(tab):
    t = tab('models.rnn.html')
    before = t.evaluate("getComputedStyle(document.body).backgroundColor")
    t.click('.theme-toggle-header, .theme-toggle-content >> visible=true')
    assert t.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert t.query_selector('.next-page') and t.query_selector('.prev-page') and t.query_selector('.toc-tree')
