import sys
from urllib.error import URLError

import pytest
from sacrebleu.metrics.bleu import BLEU

from quatrain.specs import DataError, InputError
from quatrain.tasks.translation.bleu_tokenizer import (
    bleu,
    can_score,
    choose_tokenizer,
    tokenizer_of,
)
from quatrain.tasks.translation.metric import score

CHINESE = ["上海是一个大城市。", "我今天去了那里，天气很好。"]
JAPANESE = ["上海は大きな都市です。", "今日はそこへ行きました。"]
THAI = ["เซี่ยงไฮ้เป็นเมืองใหญ่", "วันนี้ฉันไปที่นั่น"]
KHMER = ["សៀងហៃគឺជាទីក្រុងធំ", "ថ្ងៃនេះខ្ញុំបានទៅទីនោះ"]
LAO = ["ຊຽງໄຮ້ແມ່ນເມືອງໃຫຍ່", "ມື້ນີ້ຂ້ອຍໄດ້ໄປທີ່ນັ້ນ"]
BURMESE = ["ရှန်ဟိုင်းသည်မြို့ကြီးဖြစ်သည်။", "ယနေ့ကျွန်ုပ်သွားခဲ့သည်။"]
TIBETAN = ["ཧྲང་ཧའེ་ནི་གྲོང་ཁྱེར་ཆེན་པོ་ཞིག་རེད།", "དེ་རིང་ང་དེར་ཕྱིན་པ་ཡིན།"]
KOREAN = ["상하이는 큰 도시입니다.", "오늘 나는 그곳에 갔습니다."]


@pytest.fixture(autouse=True)
def clear_cache():
    """Clear the cache before and after each test."""
    bleu.cache_clear()
    yield
    bleu.cache_clear()


@pytest.mark.parametrize(
    ("codes", "tokenizer"),
    [
        ("de en fi cs ru hi ar he tr vi el DE en-GB pt_BR deu_Latn tgt 1", "13a"),
        ("zh zho chi cmn yue ZH zh-CN zh_TW zh-Hans zho_Hant yue_Hant zh_cn.UTF-8 cn", "zh"),
        ("ja jpn JA ja-JP ja_JP jpn_Jpan jp", "ja-mecab"),
        ("ko kor ko-KR kor_Hang", "ko-mecab"),
        ("th tha th-TH tha_Thai lo lao lao_Laoo km khm my mya bur bo bod tib dz dzo", "char"),
    ],
)
def test_the_tokenizer_of_a_language_code(codes, tokenizer):
    assert {code: tokenizer_of(code) for code in codes.split()} == dict.fromkeys(
        codes.split(), tokenizer
    )


@pytest.mark.parametrize("language", ["de", "en", "ru", "zh", "ja", "ko"])
def test_the_tokenizer_is_that_of_sacrebleu(language):
    assert tokenizer_of(language) == BLEU._TOKENIZER_MAP.get(language, BLEU.TOKENIZER_DEFAULT)


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("zh", CHINESE),
        ("zh-TW", CHINESE),
        ("th", THAI),
        ("km", KHMER),
        ("lo", LAO),
        ("my", BURMESE),
        ("bo", TIBETAN),
    ],
)
def test_a_perfect_translation_without_spaces_scores_100(language, sentences):
    tokenizer = choose_tokenizer("auto", language, sentences)
    scores = score(sentences, sentences, tokenizer)
    assert (scores.bleu, scores.chrf) == (pytest.approx(100), pytest.approx(100))
    assert f"|tok:{tokenizer}|" in scores.signatures["bleu"]
    assert score(sentences[::-1], sentences, tokenizer).bleu < 20
    assert score(sentences, sentences, "13a").bleu == 0


@pytest.mark.parametrize(
    ("language", "sentences", "package"),
    [("ja-JP", JAPANESE, "MeCab"), ("ko", KOREAN, "mecab_ko")],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the bindings of MeCab
def test_a_perfect_translation_split_by_mecab_scores_100(language, sentences, package):
    pytest.importorskip(package)
    tokenizer = choose_tokenizer("auto", language, sentences)
    scores = score(sentences, sentences, tokenizer)
    assert scores.bleu == pytest.approx(100)
    assert f"|tok:{tokenizer}-" in scores.signatures["bleu"]


def choice_error(choice, language, references):
    with pytest.raises(DataError) as raised:
        choose_tokenizer(choice, language, references)
    assert raised.value.field == "TranslationSpec.bleu_tokenizer"
    return raised.value


@pytest.mark.parametrize(
    ("language", "module", "package"),
    [
        ("jpn", "sacrebleu.tokenizers.tokenizer_ja_mecab", "sacrebleu[ja]"),
        ("ko_KR", "sacrebleu.tokenizers.tokenizer_ko_mecab", "sacrebleu[ko]"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, language, module, package):
    monkeypatch.setattr(f"{module}.MeCab", None)
    error = choice_error("auto", language, JAPANESE)
    assert f'pip install "{package}"' in error.remedy
    assert choose_tokenizer("char", language, JAPANESE) == "char"


@pytest.mark.parametrize("tokenizer", ["flores101", "flores200"])
def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert 'pip install "sentencepiece"' in choice_error(tokenizer, "th", THAI).remedy

    def offline(*_):
        raise URLError("no network")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.TokenizerSPM.__init__", offline)
    error = choice_error(tokenizer, "th", THAI)
    assert error.value == tokenizer
    assert "no network" in error.expected


@pytest.mark.parametrize(
    ("sentences", "likely"),
    [
        (CHINESE, "zh"),
        (JAPANESE, "ja-mecab"),
        (["カタカナ ひらがな"], "ja-mecab"),
        (THAI, "char"),
        (KHMER, "char"),
        (LAO, "char"),
        (BURMESE, "char"),
        (TIBETAN, "char"),
    ],
)
@pytest.mark.parametrize("language", ["tgt", "de"])
def test_text_without_spaces_is_refused_with_an_unknown_code(sentences, likely, language):
    error = choice_error("auto", language, sentences)
    assert f'"{language}"' in error.expected
    assert f'"{likely}"' in error.remedy
    assert choose_tokenizer("13a", language, sentences) == "13a"


@pytest.mark.parametrize(
    "sentences", [KOREAN, ["Он идёт.", "Die Stadt 上海 ist groß."], ["", "12"], []]
)
def test_text_with_spaces_uses_13a_with_an_unknown_code(sentences):
    assert choose_tokenizer("auto", "tgt", sentences) == "13a"


def test_short_references_cannot_score():
    assert not can_score(["a b c", "d", ""], "13a")
    assert can_score(["d", "a b c."], "13a")
    assert not can_score(["上海是大城市"], "13a")
    assert can_score(["上海是大城市"], "zh")
    assert score(["a b c", "d"], ["a b c", "d"]).bleu == 0


def test_metrics_are_cached():
    assert bleu("13a") is bleu("13a")
    assert bleu("zh") is not bleu("13a")


@pytest.mark.parametrize("tokenizer", ["auto", "13A", ""])
def test_an_unknown_tokenizer_is_refused(tokenizer):
    for call in (lambda: score(CHINESE, CHINESE, tokenizer), lambda: can_score(CHINESE, tokenizer)):
        with pytest.raises(InputError) as raised:
            call()
        assert (raised.value.field, raised.value.value) == ("tokenizer", tokenizer)


def test_a_memory_error_is_not_reported_as_one_of_the_tokenizer(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("quatrain.tasks.translation.bleu_tokenizer.bleu", fail)
    with pytest.raises(MemoryError):
        choose_tokenizer("13a", "de", ["a b"])
