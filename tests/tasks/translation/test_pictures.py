import io

import numpy as np
import torch
from PIL import Image

from quatrain.tasks.translation import pictures
from quatrain.tasks.translation.pictures import alignment_picture
from quatrain.tasks.translation.vocabulary import BOS


def test_the_picture_has_the_weights_of_the_last_layer_and_the_predicted_tokens(
    finished, monkeypatch
):
    _, task, objective = finished
    figures = []
    plain = pictures.plot_alignment
    monkeypatch.setattr(
        pictures, "plot_alignment", lambda *a, **o: figures.append(plain(*a, **o)) or figures[-1]
    )
    source, (_, target) = task.test.sources[0], task.corpus.test[0]
    picture = alignment_picture(objective.translator, task.vocabulary, source, target)
    assert Image.open(io.BytesIO(picture)).format == "PNG"
    [figure] = figures
    axes = figure.axes[0]
    values = np.ma.getdata(axes.get_images()[0].get_array())
    tokens = task.vocabulary.encode(target)
    assert values.shape == (len(tokens) + 1, len(source))
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-5)
    model = objective.translator.eval()
    attention = model.decoder[0].cross_attention.mixer
    inputs = []
    handle = attention.register_forward_pre_hook(lambda _, args: inputs.append(args))
    with torch.no_grad():
        model(torch.tensor([source]), torch.tensor([[BOS, *tokens]]))
        weights = attention.explain(*inputs[0]).weights[0].mean(0)
    handle.remove()
    np.testing.assert_allclose(values, weights.numpy(), atol=1e-6)
    rows = [text.get_text() for text in axes.get_yticklabels()]
    assert rows[-1] == "END"
    assert "".join(rows[:-1]).replace(" ", "") == target.replace(" ", "")


def test_an_empty_translation_has_one_row(finished):
    _, task, objective = finished
    picture = alignment_picture(objective.translator, task.vocabulary, task.test.sources[0], "")
    assert Image.open(io.BytesIO(picture)).format == "PNG"
