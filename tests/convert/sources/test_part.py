"""A part of a data set: every image is in one part, and the ids run through the parts in order."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert.sources.part import Part, listing_digest, parse_part, slice_part


class Image(NamedTuple):
    name: str
    label: int


def images(num, folder="/data"):
    return [Image(f"{folder}/{i}.jpg", i % 3) for i in range(num)]


@given(st.integers(1, 300), st.integers(1, 40))
def test_parts_are_consecutive_and_of_equal_size_to_within_one(num, of):
    splits = {"train": images(max(num, of)), "test": images(of)}
    parts = [slice_part(splits, Part(number, of)) for number in range(1, of + 1)]
    for split, whole in splits.items():
        assert [image for part in parts for image in part[split]] == whole
        sizes = {len(part[split]) for part in parts}
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


def test_names_say_which_part_it_is_and_sort_by_number():
    assert parse_part("3/16") == Part(3, 16)
    assert str(Part(3, 16)) == "3/16"
    names = [Part(number, 120).name for number in (1, 2, 10, 99, 100)]
    assert names[0] == "part-00001-of-00120"
    assert names == sorted(names)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "1/2/3", "1 / 2", "1/10000", "a/b", "٣/٤"])
def test_what_is_no_part_is_one_sentence(text):
    with pytest.raises(ValueError, match="allowed: such as 3/16, the third of sixteen"):
        parse_part(text)


def test_fewer_images_than_parts_are_refused():
    with pytest.raises(ValueError, match="--part is 1/4, but the split test has 3 images only: use fewer parts"):
        slice_part({"train": images(9), "test": images(3)}, Part(1, 4))


def test_the_digest_of_a_listing_sees_names_labels_order_and_splits_but_no_folder():
    one = listing_digest({"train": images(5)})
    assert one == listing_digest({"train": images(5, "/elsewhere")})
    others = (
        {"train": images(4)},
        {"train": images(5)[::-1]},
        {"train": [*images(4), Image("/data/other.jpg", 1)]},
        {"train": [*images(4), Image("/data/4.jpg", 2)]},
        {"test": images(5)},
        {"train": images(5), "test": images(1)},
    )
    assert len({one, *map(listing_digest, others)}) == 1 + len(others)
