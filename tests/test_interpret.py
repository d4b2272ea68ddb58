"Attention shown for texts and series: escaped, readable on any background, with weights that belong to what is shown."
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch.testing import assert_close

from tsai_rnnattn.interpret import ShadedText, plot_attention, show_attention
from tsai_rnnattn.testing import random_series

TOKENS, WEIGHTS = ['why', 'tennis', 'matters'], [.2, .7, .1]

@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close('all')

def html(*args, **kw): return show_attention(*args, **kw)._repr_html_()
def opacities(text): return [float(o) for o in re.findall(r'rgba\(255, 140, 0, ([\d.]+)\)', text)]

@pytest.mark.parametrize('tokens', [TOKENS, tuple(TOKENS), np.array(TOKENS), pd.Series(TOKENS)], ids=lambda t: type(t).__name__)
@pytest.mark.parametrize('as_weights', [list, np.array, torch.tensor, lambda w: torch.tensor(w, dtype=torch.bfloat16),
                                        lambda w: torch.tensor(w, requires_grad=True)])
def test_tokens_of_any_kind(tokens, as_weights):
    shown = show_attention(tokens, as_weights(WEIGHTS))
    assert isinstance(shown, ShadedText) and re.findall('>([^<]+)</span>', shown._repr_html_()) == TOKENS
    assert_close(opacities(shown._repr_html_()), [.4*w/.7 for w in WEIGHTS], atol=2e-3, rtol=0)
    assert str(shown) == 'why(0.20) tennis(0.70) matters(0.10)'

def test_html_is_escaped():
    text = html(['<script>alert(1)</script>', '"', '&amp;'], WEIGHTS, title='<i>', sep='<hr>')
    assert not re.findall('<(?!/?(div|b|span)[ >])', text)
    assert '&lt;script&gt;' in text and '&amp;amp;' in text and '&lt;hr&gt;' in text and '<b>&lt;i&gt;</b>' in text

def test_vmax_sets_the_scale():
    assert_close(opacities(html(TOKENS, WEIGHTS, vmax=1)), [.08, .28, .04])
    assert opacities(html(TOKENS, WEIGHTS, vmax=.1)) == [.4]*3
    assert opacities(html(TOKENS, [0., 0., 0.])) == [0.]*3
    for x,n in ((TOKENS, 3), (random_series(1, 2, 3)[0], 3)):
        with pytest.raises(ValueError, match='vmax=0: must be a number > 0'): show_attention(x, [1/n]*n, vmax=0)
    im = show_attention(random_series(1, 2, 3)[0], WEIGHTS, vmax=.9).axes[0].images[0]
    assert im.get_clim() == (0, .9)

def test_the_darkest_shade_is_readable_on_white_and_on_black():
    def luminance(rgb):
        r, g, b = (c/12.92 if c <= .04045 else ((c + .055)/1.055)**2.4 for c in rgb)
        return .2126*r + .7152*g + .0722*b
    top = max(opacities(html(TOKENS, WEIGHTS)))
    for page, text in ((1., 0.), (.07, 1.)):
        shade = [top*c + (1 - top)*page for c in (1, .55, 0)]
        dark, light = sorted((luminance(shade), luminance([text]*3)))
        assert (light + .05) / (dark + .05) >= 4.5                       # WCAG 2, level AA
    assert 'color:' not in html(TOKENS, WEIGHTS).replace('background-color:', '')       # the text has the color of the page

def test_long_texts_are_broken_into_lines_inside_the_figure():
    shown = show_attention(['word', '$x', '<b>', 'a\nb']*20, [1/80]*80, title='$5 to $6')
    wide, narrow = shown.plot(6), shown.plot(3)
    assert narrow.get_figheight() > wide.get_figheight()
    for fig in (wide, narrow):
        fig.canvas.draw()
        *texts, title = fig.axes[0].texts
        assert len(texts) == 80 and title.get_text() == '$5 to $6'
        boxes = [t.get_window_extent() for t in texts]
        assert all(b.x0 >= 0 and b.x1 <= fig.bbox.width and b.y0 >= 0 and b.y1 <= title.get_window_extent().y0 for b in boxes)
        assert not any(a.overlaps(b) for i,a in enumerate(boxes) for b in boxes[i+1:])
    assert [t.get_bbox_patch().get_facecolor()[3] for t in show_attention(TOKENS, WEIGHTS).plot().axes[0].texts[:3]] == \
        pytest.approx([.4*w/.7 for w in WEIGHTS])

@pytest.mark.parametrize('as_array', [torch.clone, np.asarray, torch.Tensor.tolist, torch.Tensor.half,
                                      lambda t: t.clone().requires_grad_()])
def test_series(as_array):
    x, w = random_series(1, 3, 7)[0], torch.rand(7).softmax(0)
    fig = show_attention(as_array(x), w.requires_grad_(), title='seven steps', names=['a', 'b', 'c'], figsize=(5, 2))
    ax, (image,) = fig.axes[0], fig.axes[0].images
    assert_close(torch.as_tensor(image.get_array().data)[0], w.detach())
    assert image.get_extent() == [-.5, 6.5, 0, 1] and ax.get_xlim() == (-.5, 6.5) and ax.get_title() == 'seven steps'
    assert_close(torch.stack([torch.as_tensor(l.get_ydata()) for l in ax.lines]), x, atol=2e-3, rtol=0)
    low, high = ax.get_ylim()
    assert low < x.min() and x.max() < high and high - low < 1.2*(x.max() - x.min())     # the shade does not stretch the axis
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ['a', 'b', 'c'] and tuple(fig.get_size_inches()) == (5, 2)

@pytest.mark.parametrize('x,weights,error,text', [
    (TOKENS, [.5, .5], ValueError, r'each of the 3 tokens, got weights of shape \[2\]: all of them'),
    (TOKENS, [.25]*4, ValueError, r'shape \[4\]: leave out the weights of padding, weights\[:3\]'),
    (TOKENS, [WEIGHTS], ValueError, r'shape \[1, 3\]: select one series, such as weights\[0\]'),
    (TOKENS, [.5, .5, torch.nan], ValueError, 'finite numbers ≥ 0'), (TOKENS, [1., .5, -.5], ValueError, 'finite numbers ≥ 0'),
    ('why tennis', [.5, .5], TypeError, r'got a string: pass text.split\(\)'),
    (['why', 3], [.5, .5], TypeError, 'token 1 is 3: must be a string'),
    ([], [], ValueError, r'expected a series \[c_in, sl\] or tokens as strings, got \[0\]'),
    ([5, 3, 9], WEIGHTS, ValueError, r'got \[3\].*x\[None\]; for token ids, their tokens'),
    (random_series(5, 2, 3), WEIGHTS, ValueError, r'got \[5, 2, 3\]: select a series, such as x\[0\]'),
    (random_series(1, 2, 3)[0], [.5, .5], ValueError, r'each of the 3 steps, got weights of shape \[2\]')])
def test_what_does_not_fit_is_refused(x, weights, error, text):
    with pytest.raises(error, match=text): show_attention(x, weights)
    assert not plt.get_fignums()

def test_options_of_the_other_kind_are_refused():
    with pytest.raises(TypeError, match='names'): show_attention(TOKENS, WEIGHTS, names=['a'])
    with pytest.raises(TypeError, match='sep'): show_attention(random_series(1, 2, 3)[0], WEIGHTS, sep='')

def test_text_needs_no_ipython():
    code = "import sys; from tsai_rnnattn.interpret import ShadedText; sys.modules['IPython'] = None\n" \
           "s = ShadedText(['a', 'b'], [.5, .5]); s._repr_html_(); s.plot()"
    subprocess.run([sys.executable, '-c', code], check=True, env={'MPLBACKEND': 'agg', 'PYTHONPATH': ':'.join(sys.path)})

def test_series_and_maps_of_a_graph_are_drawn():
    series, weights = torch.randn(3, 7, requires_grad=True), torch.rand(7, 7, requires_grad=True)
    fig = plot_attention(series, weights)
    assert_close(torch.as_tensor(fig.axes[1].images[0].get_array().data).float(), weights.detach())
