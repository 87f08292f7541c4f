import sys
from urllib.error import URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from quatrain.specs import DataError, InputError
from quatrain.tasks.translation.metric import (
    bleu,
    can_score,
    choose_tokenizer,
    score,
    tokenizer_of,
    write_hypotheses,
)

REFERENCES = ["Ein Mann kocht in der Küche.", "Zwei Hunde rennen über die Wiese."]


def test_the_references_score_100():
    scores = score(REFERENCES, REFERENCES)
    assert scores.bleu == pytest.approx(100)
    assert scores.chrf == pytest.approx(100)


def test_a_worse_translation_has_a_lower_score():
    good = score(["Ein Mann kocht in der Küche.", "Zwei Hunde laufen über die Wiese."], REFERENCES)
    bad = score(["Ein Mann kocht.", "Hunde."], REFERENCES)
    assert 100 > good.bleu > bad.bleu
    assert 100 > good.chrf > bad.chrf


def test_bleu_equals_a_calculation_by_hand():
    # 4 of 5 unigrams, 3 of 4 bigrams, 2 of 3 trigrams and 1 of 2 4-grams match.
    assert score(["a b c d x"], ["a b c d e"]).bleu == pytest.approx(
        100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    )


def test_scores_are_case_sensitive():
    assert score([text.lower() for text in REFERENCES], REFERENCES).bleu < 100


def test_signatures_record_how_scores_were_computed():
    signatures = score(REFERENCES, REFERENCES).signatures
    assert "tok:13a" in signatures["bleu"]
    assert "case:mixed" in signatures["bleu"]
    assert "nc:6" in signatures["chrf"]
    assert all("version:" in signature for signature in signatures.values())
    version = signatures["bleu"].rpartition("version:")[2]
    expected = f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert signatures["bleu"] == expected


def test_score_and_signature_depend_on_the_tokenizer():
    scores = {name: score(["ab cd."], ["ab ce."], name) for name in ("13a", "intl", "char")}
    assert scores["char"].bleu > scores["13a"].bleu == 0
    assert [each.signatures["bleu"].split("|")[3] for each in scores.values()] == [
        "tok:13a",
        "tok:intl",
        "tok:char",
    ]
    assert len({each.chrf for each in scores.values()}) == 1


def test_empty_translations_score_0():
    assert score(["", ""], REFERENCES).bleu == 0


@pytest.mark.parametrize("references", [[], REFERENCES])
def test_missing_translations_are_an_error(references):
    with pytest.raises(DataError) as raised:
        score(references[:1], references)
    assert raised.value.field == "hypotheses"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_every_hypothesis_is_one_line(tmp_path_factory, hypotheses):
    path = tmp_path_factory.mktemp("written") / "hypotheses.txt"
    write_hypotheses(path, hypotheses)
    text = path.read_bytes().decode()
    assert len(text.split("\n")) - 1 == len(text.splitlines()) == len(hypotheses)


def test_white_space_in_a_hypothesis_becomes_a_space(tmp_path):
    path = tmp_path / "hypotheses.txt"
    write_hypotheses(path, ["zwölf", "", "zwei\nZeilen\u2028hier"])
    assert path.read_bytes().decode() == "zwölf\n\nzwei Zeilen hier\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hypotheses.txt"]


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
    assert f'pip install "{package}"' in str(error)
    assert choose_tokenizer("char", language, JAPANESE) == "char"


@pytest.mark.parametrize("tokenizer", ["flores101", "flores200"])
def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert 'pip install "sentencepiece"' in str(choice_error(tokenizer, "th", THAI))

    def offline(*_):
        raise URLError("no network")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.TokenizerSPM.__init__", offline)
    error = choice_error(tokenizer, "th", THAI)
    assert f'"{tokenizer}"' in str(error)
    assert "no network" in str(error)


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
    assert f'"{language}"' in str(error)
    assert f'"{likely}"' in str(error)
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
        assert raised.value.field == "tokenizer"


def test_a_memory_error_is_not_reported_as_one_of_the_tokenizer(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("quatrain.tasks.translation.metric.bleu", fail)
    with pytest.raises(MemoryError):
        choose_tokenizer("13a", "de", ["a b"])
