"Print README.md: the front page without its hidden cells, with links that work outside the site"
import re

import nbformat
from nbconvert import MarkdownExporter

from docs.build import CFG, NBS, URL, page_name

def shown(cell):
    "The cell without source if its directives say so; None if it is hidden"
    if re.search(r'^#\| *hide\b', cell.source, re.M): return None
    if re.search(r'^#\| *echo: *false', cell.source, re.M): cell.source = ''
    return cell

def absolute(text):
    "Pictures from the repository, pages from the site"
    raw = CFG.git_url.replace('github.com', 'raw.githubusercontent.com')
    text = text.replace('](images/', f']({raw}/{CFG.branch}/{CFG.nbs_path.name}/images/')
    return re.sub(r'\]\(([\w./]+)\.ipynb', lambda m: f']({URL}/{page_name(m[1])}.html', text)

def readme():
    nb = nbformat.read(NBS/'index.ipynb', 4)
    nb.metadata.language_info = {'name': 'python'}
    nb.cells = [c for c in map(shown, nb.cells) if c]
    text = re.sub(r'```python\n+```\n', '', MarkdownExporter().from_notebook_node(nb)[0])
    return re.sub(r'\n{3,}', '\n\n', absolute(text)).strip()

if __name__ == '__main__': print(readme())
