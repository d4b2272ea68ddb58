"Packaging for tsai_rnnattn: all metadata comes from settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
lib, git_url = cfg['lib_name'], cfg['git_url']
licenses = {'apache2': 'Apache-2.0'}   # nbdev's name: SPDX expression
statuses = ('1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable', '6 - Mature', '7 - Inactive')

setup(
    name=lib, version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], license_expression=licenses[cfg['license']],
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    url=git_url, project_urls={'Documentation': cfg['doc_host'] + cfg['doc_baseurl'],
                               'Changelog': f"{git_url}/blob/{cfg['branch']}/CHANGELOG.md", 'Issues': f'{git_url}/issues'},
    classifiers=[f"Development Status :: {statuses[int(cfg['status']) - 1]}", f"Intended Audience :: {cfg['audience']}",
                 f"Natural Language :: {cfg['language']}", 'Topic :: Scientific/Engineering :: Artificial Intelligence',
                 *(f'Programming Language :: Python :: {v}' for v in ('3', *cfg['python_versions'].split()))],
    packages=find_packages(include=[lib, f'{lib}.*']), include_package_data=True,
    python_requires=f">={cfg['min_python']}", install_requires=cfg['requirements'].split(),
    extras_require={extra: cfg[f'{extra}_requirements'].split() for extra in ('text', 'onnx', 'dev', 'browser', 'bench')},
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': [f'{lib}={lib}._modidx:d']},   # nbdev finds source links through this
    zip_safe=False,
)
