import pytest

from quatrain.specs import MissingPackageError, missing_package, name_missing_extra


def test_a_missing_package_of_an_extra_is_one_sentence_with_the_command():
    with pytest.raises(MissingPackageError) as info, name_missing_extra():
        raise ModuleNotFoundError(name="rich.console")
    assert info.value.field == "rich"
    assert str(info.value) == 'rich is not installed; run pip install "quatrain[study]"'
    assert isinstance(info.value, ImportError)


def test_a_missing_module_of_no_extra_is_left_as_it_is():
    assert missing_package("nowhere") is None
    with pytest.raises(ModuleNotFoundError), name_missing_extra():
        raise ModuleNotFoundError(name="nowhere")
