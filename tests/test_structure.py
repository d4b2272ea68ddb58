"The order of the notebooks, the direction of their imports, short cells, and documentation of all public names."
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path
from statistics import median, quantiles

import pytest
from fastcore.docments import docments

import tsai_rnnattn

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT/'nbs').rglob('*.ipynb'))
SKIPPED = ('_modidx', '.all', '.layers.tst')                             # no definitions of their own
MODULES = [m.name for m in pkgutil.walk_packages(tsai_rnnattn.__path__, 'tsai_rnnattn.') if not m.name.endswith(SKIPPED)]

def sources(path, kind='code'): return [''.join(c['source']) for c in json.loads(path.read_text())['cells'] if c['cell_type'] == kind]

def module_of(path):
    found = [m[1] for s in sources(path) if (m := re.match(r'#\| default_exp (\S+)', s))]
    return found[0] if found else None

ROOMS = {module_of(p): p.stem for p in NOTEBOOKS if module_of(p)}        # {'layers.norm': '10_layers.norm', ...}

@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if module_of(p)], ids=lambda p: p.stem)
def test_no_notebook_imports_from_a_later_one(path):
    "Except `testing`, which all notebooks use, and which tests a model as an example"
    if module_of(path) == 'testing': return
    for module in re.findall(r'^\s*(?:from|import) tsai_rnnattn\.([\w.]+)', '\n'.join(sources(path)), re.M):
        rooms = [stem for name,stem in ROOMS.items() if name == module or name.startswith(f'{module}.')]    # a package has several
        assert rooms, f'{path.stem} imports {module}, which no notebook exports'
        assert module == 'testing' or max(rooms) <= path.stem, f'{path.stem} imports {module}, which is in {max(rooms)}'

@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if module_of(p)], ids=lambda p: p.stem)
def test_notebooks_are_named_by_number_and_module(path):
    assert re.fullmatch(rf'\d\d_{re.escape(module_of(path))}', path.stem)

def test_cells_are_short():
    lengths = [len(s.splitlines()) for p in NOTEBOOKS for s in sources(p)]
    assert median(lengths) <= 8 and quantiles(lengths, n=10)[-1] <= 17

def test_lines_of_markdown_end_at_140_characters():
    lines = [(p.stem, line) for p in NOTEBOOKS for s in sources(p, 'markdown') for line in s.splitlines()]
    long = [(stem, line) for stem,line in lines if len(line) > 140 and line[0] != '|']                      # `|`: a row of a table
    assert not long

def public():
    "Every public function, class, method and property defined in the package, by its full name"
    for name in MODULES:
        module = importlib.import_module(name)
        for n,o in vars(module).items():
            if n.startswith('_') or getattr(o, '__module__', None) != name or not (inspect.isclass(o) or inspect.isfunction(o)): continue
            yield f'{name}.{n}', o
            if not inspect.isclass(o): continue
            for k,v in vars(o).items():
                if isinstance(v, (classmethod, staticmethod)): v = v.__func__
                if isinstance(v, property): v = v.fget
                if not k.startswith('_') and inspect.isfunction(v): yield f'{name}.{n}.{k}', v

PUBLIC = dict(public())

def test_public_finds_the_whole_package():
    for n in ('core.padding_mask', 'layers.heads.PaddedSequential.forward', 'data.loaders.TSDataLoaders.from_numpy',
              'data.transforms.TSStandardize'):
        assert f'tsai_rnnattn.{n}' in PUBLIC
    assert len(PUBLIC) > 120

@pytest.mark.parametrize('name', PUBLIC)
def test_public_names_are_documented(name):
    "A docstring; for functions also a comment for each parameter, and a return that is annotated and explained"
    o = PUBLIC[name]
    assert o.__doc__ and not o.__doc__.startswith('Initialize self'), 'no docstring'
    f = o.__init__ if inspect.isclass(o) else o
    if not inspect.isfunction(f) or f.__module__ != o.__module__: return
    docs, params = docments(f, returns=True, full=True), inspect.signature(f).parameters
    variadic = {k for k,p in params.items() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}  # `docments` does not read their comments
    lacking = [k for k,v in docs.items() if k not in {'self', 'cls', 'return', *variadic} and not v.docment]
    assert not lacking, f'parameters without a comment: {lacking}'
    if inspect.isclass(o): return
    returns = inspect.signature(f).return_annotation
    assert returns is not inspect.Signature.empty, 'no return annotation'
    assert returns is None or docs['return'].docment, 'the return is not explained'
