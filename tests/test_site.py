"The documentation that `make docs` builds: pages, links, anchors, pictures, tables of parameters; and the links of the README."
import json
import re
from configparser import ConfigParser
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from inspect import isclass, isfunction
from urllib.parse import unquote, urldefrag

import pytest
import yaml
from fastcore.docments import docments

from tests.test_structure import MODULES, NOTEBOOKS, ROOT, module_of, sources

SITE = ROOT/'_docs'
PARSER = ConfigParser(delimiters=['='])
PARSER.read(ROOT/'settings.ini', encoding='utf-8')
CFG = PARSER['DEFAULT']
URL, BLOB = CFG['doc_host'] + CFG['doc_baseurl'], f"{CFG['git_url']}/blob/{CFG['branch']}"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob('*.html')) if SITE.exists() else []
built = pytest.mark.skipif(not PAGES, reason='no _docs: run make docs')
each_page = pytest.mark.parametrize('page', PAGES)

class Page(HTMLParser):
    "Tags with their attributes, ids, and the text outside scripts"
    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.skip = [], [], False
        self.feed(path.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.skip = tag in ('script', 'style')
    def handle_endtag(self, tag): self.skip = False
    def handle_data(self, data):
        if not self.skip: self.text.append(data)
    def all(self, *tags): return [a for t,a in self.tags if t in tags]
    @property
    def ids(self): return [a['id'] for _,a in self.tags if 'id' in a]

@cache
def read(page): return Page(SITE/page)

def sidebar():
    contents = yaml.safe_load((ROOT/'nbs/sidebar.yml').read_text())['website']['sidebar']['contents']
    return [n for o in contents for n in ([o] if isinstance(o, str) else o['contents'])]

def resolve(page, link):
    "File and anchor of a link within the site"
    path, anchor = urldefrag(link)
    return (SITE/page if not path else (SITE/page).parent/unquote(path)).resolve(), unquote(anchor)

def assert_leads_somewhere(path, anchor, link):
    assert path.is_file(), f'{link}: no such page'
    assert not anchor or anchor in read(path.relative_to(SITE).as_posix()).ids, f'{link}: no such anchor'


def test_every_notebook_is_in_the_sidebar_once():
    assert sorted(sidebar()) == sorted(p.relative_to(ROOT/'nbs').as_posix() for p in NOTEBOOKS)

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_every_picture_of_a_notebook_has_alternative_text(path):
    cells = [c for c in json.loads(path.read_text())['cells'] if any('image/png' in o.get('data', {}) for o in c.get('outputs', []))]
    lacking = [''.join(c['source'])[:80] for c in cells if not re.search(r'^#\| fig-alt: \S+ \S+', ''.join(c['source']), re.M)]
    assert not lacking, 'begin these cells with `#| fig-alt:` and what the picture shows'

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_begins_with_a_title_and_a_subtitle(path):
    "nbdev takes both from the first cell and drops what else is there"
    assert re.fullmatch(r'# .+\n\n> .+', sources(path, 'markdown')[0].strip())

def readme_links():
    return sorted(set(re.findall(r'\]\((https?://[^)\s]+)\)', (ROOT/'README.md').read_text(encoding='utf-8'))))

def test_links_of_the_readme_lead_to_pages_and_files():
    ours = [o for o in readme_links() if o.startswith((URL, CFG['git_url']))]
    assert len(ours) > 5
    for link in ours:
        if link.startswith(BLOB): assert (ROOT/link.removeprefix(f'{BLOB}/')).is_file(), link
        elif link.startswith(URL) and PAGES: assert_leads_somewhere(*resolve('index.html', link.removeprefix(f'{URL}/')), link)

@built
def test_every_notebook_has_a_page():
    names = {re.sub(r'(^|/)\d\d_', r'\1', o).replace('.ipynb', '.html') for o in sidebar()}
    assert names <= set(PAGES)
    assert {'CHANGELOG.html', 'CONTRIBUTING.html', 'search.html'} <= set(PAGES)

@each_page
def test_links_lead_somewhere(page):
    for a in read(page).all('a'):
        link = a.get('href', '')
        if link and not link.startswith(('http:', 'https:', 'mailto:')): assert_leads_somewhere(*resolve(page, link), link)

@each_page
def test_nothing_is_loaded_from_elsewhere(page):
    loaded = [a.get('src') or a.get('href') for a in read(page).all('script', 'img', 'iframe', 'source', 'video')]
    loaded += [a['href'] for a in read(page).all('link') if a.get('rel') not in ('canonical', 'next', 'prev')]
    for o in filter(None, loaded): assert o.startswith('data:') or resolve(page, o.split('?')[0])[0].is_file(), o

@each_page
def test_pictures_have_alternative_text(page):
    for a in read(page).all('img'): assert re.search(r'\S \S', a.get('alt', '')) and '.png' not in a['alt'], a

@each_page
def test_no_directives_or_front_matter_are_left(page):
    text = ''.join(read(page).text)
    for o in ('#| echo', '#| hide', 'output-file:', 'AUTOGENERATED', ':::', '{.subtitle}', 'show_doc('): assert o not in text, o

@each_page
def test_ids_are_unique(page): assert len(set(read(page).ids)) == len(read(page).ids)

def documented():
    "Every public name that has a page of its own module: page and object"
    for name in filter(None, map(module_of, NOTEBOOKS)):
        module = import_module(f'tsai_rnnattn.{name}')
        for k,o in ((k, getattr(module, k)) for k in getattr(module, '__all__', ()) if not k.startswith('_')):
            is_own = (isclass(o) or isfunction(o)) and o.__module__ == module.__name__
            if is_own and o.__name__.lstrip('_') == k: yield f'{name}.html', k, o          # not an alias such as `GRU`

DOCUMENTED = list(documented())

@built
def test_the_documented_names_are_many(): assert len(DOCUMENTED) > 120 and len(MODULES) > 20

@built
@pytest.mark.parametrize('page,name,o', [pytest.param(*o, id=f'{o[0]}#{o[1]}') for o in DOCUMENTED])
def test_every_public_name_has_a_heading_a_source_link_and_its_parameters(page, name, o):
    html = (SITE/page).read_text(encoding='utf-8')
    match = re.search(rf'<h[2-6]>{re.escape(name)}<a class="headerlink".*?(?=<h[2-6]>(?!{re.escape(name)}\.)|\Z)', html, re.S)
    assert match, 'no heading'
    assert f'href="{BLOB}/tsai_rnnattn/' in match[0], 'no link to the source'
    for k,comment in docments(o, returns=False).items():
        if comment: assert re.search(rf'<td><p><code[^>]*><span class="pre">\**{k}</span>', match[0]), f'{k} is not in the table'

@built
def test_plain_text_for_language_models():
    llms, api = (SITE/'llms.txt').read_text(), (SITE/'api.txt').read_text()
    for link in re.findall(rf'\({re.escape(URL)}/([^)]+)\)', llms): assert (SITE/link).is_file(), link
    assert len(re.findall(r'^- \[.+\]\(.+\): \S', llms, re.M)) == len(sidebar()) - 1
    for _,name,_ in DOCUMENTED: assert re.search(rf'\.{re.escape(name)}\(.*\): \S', api), name
