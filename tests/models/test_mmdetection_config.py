import pytest

from quatrain.models.mmdetection_config import Settings, class_names, config_text, read_settings
from quatrain.specs import DataError, Term

FIRST = """
model = dict(
    backbone=dict(
        type='ResNet', depth=50, frozen_stages=1, style='pytorch',
        gen_attention=dict(
            spatial_range=-1, num_heads=8, attention_type='0010', kv_stride=2),
        stage_with_gen_attention=[[], [], [0, 1, 2, 3, 4, 5], [0, 1, 2]],
        dcn=dict(modulated=False, deformable_groups=1, fallback_on_stride=False)),
    rpn_head=dict(
        anchor_scales=[8], anchor_ratios=[0.5, 1.0, 2.0],
        target_means=[.0, .0, .0, .0], target_stds=[1.0, 1.0, 1.0, 1.0]),
    bbox_head=dict(target_stds=[0.1, 0.1, 0.2, 0.2]))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
"""
THIRD = """
model = dict(
    backbone=dict(
        dcn=dict(deform_groups=1, fallback_on_stride=False, type='DCNv2'),
        init_cfg=dict(std=0.01, type='Normal'),
        plugins=[
            dict(
                cfg=dict(
                    attention_type='1111',
                    num_heads=4,
                    type='GeneralizedAttention'),
                position='after_conv2',
                stages=(
                    False,
                    True,
                )),
        ]),
    data_preprocessor=dict(
        mean=[
            123.675,
            116.28,
            103.53,
        ]),
    rpn_head=dict(
        anchor_generator=dict(
            ratios=[
                0.5,
                1.0,
                2.0,
            ], scales=[
                4,
            ])))
tta = dict(scales=[(1333, 800), (666, 400)])
"""


def test_settings_of_the_first_version_are_read():
    expected = Settings(Term.parse("0010"), 8, 2, modulated=False, anchor_scale=8.0)
    assert read_settings(FIRST, "a.pth") == expected


def test_settings_of_the_third_version_are_read_with_defaults_of_mmcv():
    expected = Settings(Term.parse("1111"), 4, 2, modulated=True, anchor_scale=4.0)
    assert read_settings(THIRD, "a.pth") == expected


def test_defaults_are_used_for_attention_only():
    assert read_settings("", "a.pth") == Settings()
    plugin = "cfg=dict(type='GeneralizedAttention')"
    assert read_settings(plugin, "a.pth") == Settings(Term.parse("1111"), 9, 2)


def test_different_values_leave_a_setting_open():
    twice = FIRST + "other = dict(num_heads=4, attention_type='1111')"
    settings = read_settings(twice, "a.pth")
    assert (settings.heads, settings.terms, settings.key_stride) == (None, None, 2)


OTHERS = {
    "style": FIRST.replace("pytorch", "caffe"),
    "spatial_range": FIRST.replace("spatial_range=-1", "spatial_range=5"),
    "position": THIRD.replace("after_conv2", "after_conv3"),
    "target_stds": FIRST.replace("0.1, 0.1, 0.2, 0.2", "0.05, 0.05, 0.1, 0.1"),
    "mean": FIRST.replace("123.675, 116.28, 103.53", "103.53, 116.28, 123.675"),
    "std": FIRST.replace("58.395, 57.12, 57.375", "1.0, 1.0, 1.0"),
    "ratios": THIRD.replace("0.5", "0.3"),
    "q_stride": FIRST.replace("kv_stride", "q_stride=2, kv_stride"),
    "position_magnitude": FIRST.replace("kv_stride", "position_magnitude=3, kv_stride"),
    "dilations": FIRST.replace("depth=50", "depth=50, dilations=(1, 1, 1, 2)"),
}


@pytest.mark.parametrize("field", OTHERS)
def test_settings_of_another_network_are_refused(field):
    with pytest.raises(DataError, match=f"trained with {field}=.*load a network with") as error:
        read_settings(OTHERS[field], "a.pth")
    assert error.value.field == field


def test_the_text_of_a_configuration_is_not_executed(tmp_path):
    marker = tmp_path / "ran"
    read_settings(f"num_heads=open({str(marker)!r}, 'w')\nimport os", "a.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    "meta", [{"cfg": "text"}, {"config": "text"}, {"cfg": 1, "config": "text"}]
)
def test_the_text_is_found_under_both_names(meta):
    assert config_text(meta) == "text"
    assert config_text({}) == ""


NAMES = {
    "first": {"CLASSES": ("cat", "dog")},
    "third": {"dataset_meta": {"classes": ["cat", "dog"]}},
    "between": {"CLASSES": None, "dataset_meta": {"CLASSES": ("cat", "dog")}},
}


@pytest.mark.parametrize("meta", NAMES.values(), ids=NAMES)
def test_names_of_classes_are_found(meta):
    assert class_names(meta) == ["cat", "dog"]
    assert class_names({"CLASSES": [1, 2]}) == []
