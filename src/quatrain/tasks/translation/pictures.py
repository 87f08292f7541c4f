"""The picture of a translation run: the alignment of a test sentence, for the record and report."""

from collections.abc import Sequence

import torch

from quatrain.figures import plot_alignment
from quatrain.figures.canvas import render_png
from quatrain.models.translator import Translator
from quatrain.nn import capture
from quatrain.nn.modes import evaluation_mode
from quatrain.tasks.translation.vocabulary import BOS, Vocabulary


def alignment_picture(
    translator: Translator, vocabulary: Vocabulary, source: Sequence[int], hypothesis: str
) -> bytes:
    """The encoder-decoder attention of the last layer for a translation, as a PNG.

    Each row is the token that the decoder predicts there, the end of the sentence last. Weights are
    the mean over heads.

    Args:
        translator: the trained model.
        vocabulary: of the source and the hypothesis.
        source: the token ids of the source, with the end of the sentence.
        hypothesis: its translation.
    """
    predicted = vocabulary.encode(hypothesis)
    device = translator.embedding.weight.device
    place = f"decoder.{len(translator.decoder) - 1}.cross_attention"
    with (
        torch.no_grad(),
        evaluation_mode(translator),
        capture(translator, at=place) as explanations,
    ):
        translator(
            torch.tensor([source], device=device), torch.tensor([[BOS, *predicted]], device=device)
        )
    [[explanation]] = explanations.values()
    rows = [*(vocabulary.decode([token]) for token in predicted), "END"]
    columns = [*(vocabulary.decode([token]) for token in source[:-1]), "END"]
    return render_png(lambda: plot_alignment(explanation, rows, columns))
