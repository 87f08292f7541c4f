"""Translation: parallel text or numerals, a joint vocabulary, batches by tokens, BLEU and chrF."""

from quatrain.specs import name_missing_extra

with name_missing_extra():
    from quatrain.tasks.translation.batching import pad, token_batches
    from quatrain.tasks.translation.metric import (
        BleuTokenizer,
        Scores,
        choose_tokenizer,
        score,
        write_hypotheses,
    )
    from quatrain.tasks.translation.numerals import NumeralsSpec
    from quatrain.tasks.translation.parallel_text import (
        WMT14,
        WMT14_JOINED,
        Corpus,
        LineNumbers,
        Pair,
        ParallelTextSpec,
    )
    from quatrain.tasks.translation.task import (
        TrainedTranslator,
        TranslationSpec,
        TranslationTask,
        load_translator,
    )
    from quatrain.tasks.translation.vocabulary import (
        BOS,
        EOS,
        PAD,
        Vocabulary,
        VocabularySpec,
        train_vocabulary,
    )

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "WMT14",
    "WMT14_JOINED",
    "BleuTokenizer",
    "Corpus",
    "LineNumbers",
    "NumeralsSpec",
    "Pair",
    "ParallelTextSpec",
    "Scores",
    "TrainedTranslator",
    "TranslationSpec",
    "TranslationTask",
    "Vocabulary",
    "VocabularySpec",
    "choose_tokenizer",
    "load_translator",
    "pad",
    "score",
    "token_batches",
    "train_vocabulary",
    "write_hypotheses",
]
