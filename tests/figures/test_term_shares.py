import numpy as np
import pytest
import torch

from quatrain.figures import plot_term_shares
from quatrain.figures.canvas import MEANINGS
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import AttentionSpec
from quatrain.specs import InputError, Term
from quatrain.switching import term_shares


def translated(self_terms="1111", cross_terms="0110"):
    torch.manual_seed(0)
    spec, cross = (AttentionSpec(terms=terms, heads=2) for terms in (self_terms, cross_terms))
    mixers = {"encoder_self": spec, "decoder_self": spec, "cross": cross}
    model = TranslatorSpec(width=8, layers=1, feed_forward=12, **mixers).build(20).eval()
    return term_shares(model, torch.tensor([[3, 4, 5, 0]]), torch.tensor([[1, 5, 6]]))


def marks(axes):
    """The large marks: {(row, term): share}; and the small ones: {(row, term): shares}."""
    terms = {meaning: term for term, meaning in MEANINGS.items()}
    lines = [line for line in axes.lines if line.get_linestyle() == "None"]
    means, heads = {}, {}
    for small, large in zip(lines[::2], lines[1::2], strict=True):
        term = terms[large.get_label()]
        for x, y in zip(large.get_xdata(), large.get_ydata(), strict=True):
            means[round(y), term] = x
        for x, y in zip(small.get_xdata(), small.get_ydata(), strict=True):
            heads.setdefault((round(y), term), []).append(x)
    return means, heads


def test_marks_are_the_shares_of_each_layer_and_head():
    shares = translated()
    figure = plot_term_shares(shares)
    for axes, kind in zip(figure.axes, ("variance", "mass"), strict=True):
        means, heads = marks(axes)
        expected = {
            (row, term): values
            for row, each in enumerate(shares.values())
            for term, values in getattr(each, kind).items()
        }
        assert heads.keys() == means.keys() == expected.keys()
        for place, values in expected.items():
            np.testing.assert_allclose(heads[place], values)
            assert means[place] == pytest.approx(float(values.mean()))
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(shares)
    assert figure.axes[0].get_ylim() == (2.5, -0.5)
    figure.canvas.draw()


def test_shares_of_variance_add_up_to_one_in_each_layer():
    means, _ = marks(plot_term_shares(translated()).axes[0])
    for row in range(3):
        assert sum(x for (at, _), x in means.items() if at == row) == pytest.approx(1)


def test_terms_of_no_layer_are_not_in_the_legend():
    figure = plot_term_shares(translated("0010", "0110"))
    [legend] = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [MEANINGS[Term.QUERY_POSITION], MEANINGS[Term.KEY]]


def test_layers_of_constant_logits_stay_blank():
    shares = translated("0000", "0000")
    figure = plot_term_shares(shares)
    assert not figure.axes[0].collections
    figure.canvas.draw()
    one_key = term_shares(AttentionSpec(terms="0010", heads=2).build(8), torch.randn(1, 8, 1, 1))
    figure = plot_term_shares(one_key)
    means, _ = marks(figure.axes[0])
    assert np.isnan(means[0, Term.KEY])
    assert figure.axes[0].get_yticklabels()[0].get_text() == "attention"
    figure.canvas.draw()


def test_no_layer_is_refused():
    with pytest.raises(InputError) as raised:
        plot_term_shares({})
    assert raised.value.field == "shares"
