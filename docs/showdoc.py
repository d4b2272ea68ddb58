"Markdown for a public name: signature, summary, table of parameters, what it returns and raises, link to the source"
import inspect
import re
from pathlib import Path
from textwrap import fill

from fastcore.docments import docments
from nbdev.config import get_config

CFG = get_config()

def _unwrap(sym): return inspect.unwrap(getattr(sym, 'fget', None) or getattr(sym, '__func__', sym))
def member(o, name):
    "The attribute `name`; a property of a class itself, not its value"
    return o.__dict__[name] if isinstance(o.__dict__.get(name), property) else getattr(o, name)

def _type(o): return '' if o is inspect.Parameter.empty else re.sub(r'(\w+\.)+', '', inspect.formatannotation(o)).strip("'")
def _default(o): return o.__name__ if inspect.isroutine(o) or inspect.isclass(o) else repr(o)
def _code(s): return f'`` {s} ``'.replace('|', r'\|') if s else ''
def _star(p): return {p.VAR_POSITIONAL: '*', p.VAR_KEYWORD: '**'}.get(p.kind, '') + p.name

def params(sym):
    "The parameters of a function or class, without `self`"
    return [p for p in inspect.signature(sym).parameters.values() if p.name not in ('self', 'cls')]

def signature(sym, name):
    "The call `name(...)`"
    return f"{name}({', '.join(_star(p) + ('' if p.default is p.empty else f'={_default(p.default)}') for p in params(sym))})"

def source(sym):
    "URL of the source of `sym`"
    path = Path(inspect.getsourcefile(sym)).relative_to(CFG.config_path).as_posix()
    return f'{CFG.git_url}/blob/{CFG.branch}/{path}#L{inspect.getsourcelines(sym)[1]}'

def summary_and_errors(sym):
    "The docstring without and with only its `raises ...`, which stands last"
    doc = ' '.join((inspect.getdoc(sym) or '').partition('>>>')[0].split())       # without a doctest
    m = re.search(r'(?:^|[;.,]\s+)(?:it )?[Rr]aises (.*)$', doc)
    return (doc[:m.start()], m[1]) if m else (doc, '')

def _table(sym, docs):
    rows = [(_code(_star(p)), _code(_type(p.annotation)), '' if p.default is p.empty else _code(_default(p.default)),
             ' '.join((docs.get(p.name, {}).get('docment') or '').split()).replace('|', r'\|')) for p in params(sym)]
    rows = [r for r in rows if any(r[1:])]
    head = '| parameter | type | default | meaning |\n|---|---|---|---|\n'
    return head + ''.join(f"| {' | '.join(r)} |\n" for r in rows) if rows else ''

def document(sym, name, marks, shown=()):
    "Markdown of `sym` under a heading with these `marks`, and of the methods of a class unless they are among `shown`"
    is_property, f = isinstance(sym, property), _unwrap(sym)
    docs = docments(f, full=True, args_kwargs=True)
    text, errors = summary_and_errors(f)
    returns = docs.get('return', {})
    code = fill(signature(f, name), 100, subsequent_indent=' '*(len(name) + 1))
    parts = [f'{marks} {name}', f'[source]({source(f)}){{.source}}',
             '' if is_property else f'```python\n{code}\n```', text, '' if is_property else _table(f, docs)]
    if returns.get('docment') and not inspect.isclass(f):
        parts.append(f"**{'Value' if is_property else 'Returns'}** {_code(_type(returns.anno))} {' '.join(returns.docment.split())}")
    if errors: parts.append(f'**Raises** {errors}')
    parts += [document(o, f'{name}.{k}', f'{marks}#') for k,o in methods(f) if f'{name}.{k}' not in shown]
    return '\n\n'.join(p for p in parts if p)

def methods(cls):
    "Names and objects of the public methods and properties that the class `cls` itself defines and documents"
    for k in vars(cls) if inspect.isclass(cls) else ():
        f = _unwrap(o := member(cls, k))
        if not k.startswith('_') and k != 'extra_repr' and inspect.isfunction(f) and f.__doc__: yield k, o
