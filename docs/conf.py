"How Sphinx renders the pages that `docs.build` writes"
from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from nbdev.config import get_config

CFG = get_config()
project, author, copyright, release = CFG.lib_name, CFG.author, CFG.copyright, CFG.version
extensions = ['myst_nb']
nb_execution_mode, nb_render_markdown_format = 'off', 'myst'
myst_enable_extensions = ['attrs_block', 'attrs_inline', 'colon_fence', 'dollarmath']
myst_heading_anchors = 5

html_theme = 'furo'
html_title = CFG.title
html_baseurl = f'{CFG.doc_host}{CFG.doc_baseurl}/'
html_static_path, html_extra_path, html_css_files = ['static'], ['../_proc/extra'], ['custom.css']
html_copy_source = html_show_sourcelink = False
pygments_style, pygments_dark_style = 'a11y-high-contrast-light', 'a11y-high-contrast-dark'
html_theme_options = dict(top_of_page_buttons=[], footer_icons=[dict(name='GitHub', url=CFG.git_url, html='GitHub')])
html_math_renderer = 'mathml'

def math(self, node, display):
    "MathML, which browsers draw without scripts"
    self.body.append(convert(node.astext(), display=display))
    raise SkipNode

def setup(app):
    app.add_html_math_renderer('mathml', (lambda s, n: math(s, n, 'inline'), None), (lambda s, n: math(s, n, 'block'), None))
